"""Serving, measured without HTTP: the sampler and its peers on the same prompts and adapters.

Bench scripts run these modules in processes of their own.
"""
