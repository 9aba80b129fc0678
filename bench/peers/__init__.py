"""Trainers of other projects (the "peers"), and the parts that their scripts share.

Each script runs in a process of its own, in the virtual environment of its peer.
"""
