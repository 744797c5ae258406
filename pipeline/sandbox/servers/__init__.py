"""The servers of a sandbox, and what all of them have in common."""
