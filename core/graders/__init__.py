"""Graders, which score a sample: their declarations, templates, formulas and similarity metrics.

Only the API runs graders at the moment. Nothing here depends on HTTP, so that a worker can run them later.
"""
