"""Turns lines of datasets into rows of tokens, with a base model's chat template.

`render_process.py` is a process of its own beside a trainer, a server, an eval run or a check, and the other
modules are what it runs. It imports no torch.
"""
