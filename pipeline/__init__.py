"""The library: what each step of a night does. It knows nothing of Luigi."""

__version__ = "0.1.0"
