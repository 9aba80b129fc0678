"""How graders score a sample: their options, templates, formulas and measures of similarity.

The API runs them today; nothing here knows of HTTP, so that a worker can run them too.
"""
