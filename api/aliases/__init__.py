"""Aliases: names of a project for its models that can be moved at once. Runs in the API."""
