"""Base models on this machine's disk: fetched or converted once, and verified.

They are prepared in every trainer process, which then loads its model from here.
"""
