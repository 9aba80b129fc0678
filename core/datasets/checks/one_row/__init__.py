"""What a check sees in one row: its texts, what must not be taught, and wrong calls of tools.

A task's process, the render process and servers use it. It knows nothing of other rows.
"""
