"""Training: one folder per stage. Knows nothing of HTTP."""
