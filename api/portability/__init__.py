"""Portability of an adapter: which runtimes load it, by rules and as a worker has measured it."""
