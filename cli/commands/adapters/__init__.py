"""The commands `tunery adapters …`: what one can do with an adapter once it exists.

They run in the process of the command line and ask the API.
"""
