"""Contracts of our own for import-linter, beside those that it brings."""
