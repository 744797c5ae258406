"""What is in a database: read for the manifest, held still for a dump, and compared after a restore."""
