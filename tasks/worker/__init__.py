"""Luigi's workers, what starts them, and what they are told before they begin."""
