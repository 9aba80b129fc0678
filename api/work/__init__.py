"""Creates, lists, shows, cancels and deletes tasks, in the same way for all kinds of work.

A kind fills in its request check and its fields (`resource.Resource`).
"""
