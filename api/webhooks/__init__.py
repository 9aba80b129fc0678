"""Webhooks: a project registers URLs that get an event when a job ends, and sees what became of each."""
