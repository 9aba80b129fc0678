"""Turns a job's stored files into rows of tokens on the disk.

Threads of the trainer fetch the files (`reader.py`). The process that renders beside the trainer
(`render_process.py`) turns their lines into tokens. It imports no torch.
"""
