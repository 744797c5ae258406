"""Nomad: the job of each duty, what it may read in Vault, and how both are brought there."""
