"""What a table looks like, in the source and in the warehouse, and what a change of that leads to."""
