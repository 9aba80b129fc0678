"""Checks of the content of files: start, watch, read and cancel them."""
