"""Reports jobs to experiment trackers: from the database, beside the training and never in its way."""
