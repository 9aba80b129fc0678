"""Imports adapters that were trained elsewhere: a server reads and checks them, the API registers them."""
