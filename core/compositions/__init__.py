"""Compositions of adapters: their methods and options. API and worker read requests with these classes."""
