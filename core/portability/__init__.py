"""Portability: which runtimes load an adapter, in which form, and with which command. API and worker read it.

The rules follow from the method and its options. What a worker has measured takes their place.
"""
