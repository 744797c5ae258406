"""Loading: how the tables of a source come into the warehouse, and what must hold before anyone sees them."""
