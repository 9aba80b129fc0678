"""Imports adapters that were trained elsewhere: reads hostile input, checks them, and writes our form.

A server starts a process of its own for it (`apart.py`), which has bounds of time and memory and no secrets.
"""
