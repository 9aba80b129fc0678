"""The frozen base model: how it is checked, loaded, quantised and sharded, and which path it takes.

Each trainer process holds one base model, and all jobs that train on it share it.
"""
