"""The Luigi tasks: what depends on what, and when it is complete. The work itself is in `pipeline`."""

from pipeline import redact

# Before Luigi logs or reports anything.
redact.install()
