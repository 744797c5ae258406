"""Tests of watch: the judges with facts alone, the looking with a real ledger and bucket."""
