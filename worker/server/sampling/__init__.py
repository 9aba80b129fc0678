"""What the server has loaded: a base model with its sampler in a thread, and adapters of the store.

The server imports this folder, and with it torch, at the first request.
"""
