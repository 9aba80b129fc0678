"""What only many rows show: repeated rows, classes, languages, lengths, and what a few rows do differently.

A task's process and the render process use it. It keeps a few numbers of each row, not the rows.
"""
