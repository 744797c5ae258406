"""The warehouse: its relations, views and roles, and how a table is changed while people read it."""
