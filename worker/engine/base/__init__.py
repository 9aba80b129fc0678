"""The frozen base model: how it is loaded, quantised and sharded, and the decoder that computes with it.

One per process, shared by all jobs that train on it.
"""
