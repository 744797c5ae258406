"""What people on call type, and what the platform itself needs."""
