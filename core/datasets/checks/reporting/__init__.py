"""Findings of a check, and the report that holds them. The API, the worker and a task's process use them."""
