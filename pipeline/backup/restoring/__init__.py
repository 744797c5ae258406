"""A restore: the whole of it, or parts, into a server that may lack what the backup expects."""
