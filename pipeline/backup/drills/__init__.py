"""The restore drill: which are due, what is damaged on purpose, and what was found."""
