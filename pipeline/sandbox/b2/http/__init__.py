"""The HTTP side of the emulator: requests in, answers and faults out."""
