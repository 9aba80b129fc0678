"""The files of an adapter as a client downloads them: its folder with a manifest, and its model card.

The trainer writes them, and so do the tasks that make, import, export or measure an adapter.
"""
