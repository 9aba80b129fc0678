"""Adapters on the base model: how they are attached, trained, sized and saved, for every method.

`adapter` is the interface of all of them, `low_rank` is the fast path, and `modules` holds the adapters that
bring modules of their own. They live in every trainer process.
"""
