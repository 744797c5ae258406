"""Backups: dump, encrypt, upload, verify; restore and drill. They need a database, Vault and the bucket, and
never the warehouse.
"""
