"""Base models on this machine's disk: fetched or converted once, and verified.

The trainer loads them from here.
"""
