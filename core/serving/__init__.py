"""Chat and completions, as OpenAI's clients send and read them.

The API checks requests with these schemas, and the servers answer with them.
"""
