"""The tasks that models learn from rewards here: rows, a grader and settings, one file for each task."""
