"""Graders, which score a sample: their declarations, templates, formulas and similarity metrics.

Today the API runs graders. Nothing here depends on HTTP, so that a worker can run them too.
"""
