"""The library: what each step of a night does. It knows nothing of Luigi."""

__version__ = "0.1.0"
# Which commit a release is of; bin/release writes it.
COMMIT = ""
