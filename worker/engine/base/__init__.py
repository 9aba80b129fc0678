"""The frozen base model: how it is loaded, quantised and sharded, and the decoder that computes with it.

Each trainer process holds one base model, and all jobs that train on it share it.
"""
