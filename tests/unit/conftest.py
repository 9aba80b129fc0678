"""Hypothesis tries the same examples each time, and sets none of them a deadline.

An example that a busy machine takes long for fails no test, and a test that passes for one change of the code
passes for the next.
"""

from hypothesis import settings

settings.load_profile("ci")
