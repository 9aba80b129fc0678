"""Adapters for the sampler: read from PEFT's files, kept in memory, and laid out as a step needs them.

The sampler's thread computes with them. Any thread of a process that serves loads them.
"""
