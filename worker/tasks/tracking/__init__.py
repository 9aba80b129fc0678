"""Reports jobs to experiment trackers, from the metrics in the database and apart from the training."""
