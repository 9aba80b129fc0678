"""Serving: the sampler and its peers on the same prompts and adapters, and chats beside training.

`serve`, `share`, `beside`, `idle` and `picture` are commands. The peers of `serve` are processes of their
own.
"""
