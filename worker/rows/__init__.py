"""Rows of tokens, and the files that hold them: rendering writes them, and the engine reads them.

Processes without torch use it too, so it imports none.
"""
