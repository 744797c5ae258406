"""Luigi's central scheduler, its door, its pages and its figures."""
