"""The tables of chats: the servers that answer, the aliases of models, stored completions, tokens used.

The API uses them; servers write their own rows.
"""
