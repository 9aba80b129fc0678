"""Graders, which score a sample: their declarations, templates, formulas and similarity metrics.

Nothing here depends on HTTP, so that a worker can grade too. Only the API grades at the moment, in processes
of its own (`api.graders.processes`).
"""
