"""The requests of chat, completions and tokenize, and their answers, as client and server exchange them.

The API checks them and hands them on, and the server reads them.
"""
