"""What sources/*.yaml say: the tables to load, and what must hold of them."""
