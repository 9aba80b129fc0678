"""Checks of the content of files, and conversions of other formats: start, watch, read and cancel them."""
