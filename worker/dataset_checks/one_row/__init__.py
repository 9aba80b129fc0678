"""Checks of one row by itself: of its texts, of what must not be taught, and of its calls of tools.

A task's process, the render process and servers use them. They know nothing of other rows.
"""
