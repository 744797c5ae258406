"""The Luigi tasks, run as people and Nomad run them."""
