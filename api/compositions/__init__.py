"""Compositions of adapters: start one, watch it, and cancel or delete it. Its result is an adapter."""
