"""The CPU backend of FERRUM. Installing it is enough: `device="cpu"` loads it."""
