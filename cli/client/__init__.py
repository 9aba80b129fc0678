"""Parts that commands share: the client of the API, the state folder, output, progress and errors.

They run in the process of a command. They import neither torch nor a web framework.
"""
