"""Rows of tokens, and the files that hold them: rendering writes them, and the engine reads them.

Trainers, servers, eval runs and render processes use it. Some of them have no torch, so it imports none.
"""
