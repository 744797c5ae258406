"""This machine: programs and all that comes of them, throw-away folders, files that are whole or absent."""
