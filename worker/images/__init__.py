"""Turns images into what a base model reads of them.

A process of its own decodes them and computes a model's inputs (`image_process.py`), since nobody has checked
them: it has no secrets, and bounds of time and memory. Renderers and servers start it (`reader.py`).
"""
