"""The candidates of a job that trains several adapters and keeps the best: their state, and their losses."""
