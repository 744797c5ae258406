"""The warehouse: what a table of it is, where its rows are staged, how it is changed while people read it."""
