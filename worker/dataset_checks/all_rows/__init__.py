"""Checks that need many rows: repeated rows, classes, languages, lengths, and rows that differ from the rest.

A task's process and the render process use them. They keep a few numbers of each row, not the rows.
"""
