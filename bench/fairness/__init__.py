"""Measures what a polite client waits for while other projects abuse the service: `python -m bench.fairness`.

tenants       projects of a running service, each with a key
abuses        the kinds of abuse: what a project needs for one, and one request of it
abusers       the clients of the abuses, in a process of their own
polite        the client whose chats are timed
"""
