"""What the API does alike for all kinds of work: create, list, show, cancel and delete tasks.

A kind fills in its request check and its fields (`resource.Resource`).
"""
