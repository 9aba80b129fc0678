"""Uploads: a large file comes in parts, and becomes a file once all parts are there."""
