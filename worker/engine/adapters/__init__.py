"""Adapters on the base model: how they are attached, trained, sized and saved, by method.

`adapter` is the protocol of all of them, `low_rank` the fast path, and `modules` holds those that bring
modules of their own.
"""
