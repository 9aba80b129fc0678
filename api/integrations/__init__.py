"""Integrations: lists the experiment trackers that jobs may report to."""
