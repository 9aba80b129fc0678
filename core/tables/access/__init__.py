"""The tables of who may do what, and of what they did: projects, keys, secrets, audit log, usage.

The API uses them, and the worker where it acts for a project.
"""
