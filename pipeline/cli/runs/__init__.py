"""What runs a chain: `pipeline run` and `pipeline rerun`."""
