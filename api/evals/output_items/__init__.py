"""What a run of an eval found for each row, read from the run's files page by page."""
