"""Layers of experts with the low-rank updates of all jobs, and transformers' modules that compute with them.

Trainers and servers run it on every path that takes such models.
"""
