"""Imports adapters that were trained elsewhere: reads hostile input, checks them, and writes our form.

The process of the task fetches and stores. It has the file read in another process, which has bounds of time
and memory and no secrets (`limited_process.py`).
"""
