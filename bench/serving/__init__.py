"""Serving: the sampler and its peers on the same prompts and adapters, and chats beside training.

`serve` and `share` are commands. vLLM, a peer of `serve`, runs in a process of its own.
"""
