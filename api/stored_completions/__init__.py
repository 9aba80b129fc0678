"""Stored chat completions: list, read, rate and delete them, and make datasets of them. Runs in the API."""
