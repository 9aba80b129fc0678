"""The server: it answers chats and completions for the API, on a private address, in OpenAI's format.

`tunery serve` runs it in a process of its own. This folder imports torch only once a model is asked for.
"""
