"""Secrets that a project's jobs may use. A client sets, lists and deletes them, but never reads a value."""
