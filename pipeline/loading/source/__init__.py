"""What is read of a source: its rows, which of them are gone, and whether it is the one of the last load."""
