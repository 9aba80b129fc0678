"""Imports adapters that were trained elsewhere: begins a task, and waits for its end."""
