"""Checks of requests for evals: their criteria, and what their data sources must be like.

Evals use them, and so do jobs that ask for an eval at their end.
"""
