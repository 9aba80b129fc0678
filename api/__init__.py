"""HTTP: one folder per feature. Endpoints parse and shape, services decide, queries read."""
