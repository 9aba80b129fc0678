"""Base models before they are on offer: what the hub or a folder says of one, and on which devices it trains.

What is wanted is written to the catalog's file.

The API and the command line use it.
"""
