"""One machine without Nomad: its user, folders, release and settings, and the clock that starts each duty."""
