"""Evals: data that models are judged on, the criteria, and what a run of a model found.

An eval says how models are judged. A run of it judges one model; two runs of it can be compared. Names and
shapes are OpenAI's. API and worker share this package.
"""
