"""Tests of the ledger: steps, leases and runs on a real warehouse."""
