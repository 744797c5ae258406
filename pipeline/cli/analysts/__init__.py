"""What an analyst types."""
