"""Measurements of the check of datasets, each a command: what it finds, and what two million rows cost."""
