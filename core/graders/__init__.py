"""Graders, which score a sample: their declarations, templates, formulas and similarity metrics.

Nothing here depends on HTTP. The API grades with it, and so does the process of an eval run; both run graders
in processes beside their own.
"""
