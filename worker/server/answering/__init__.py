"""Between OpenAI's format and the sampler: prompts, sampling parameters, calls of tools, answers and chunks.

The server imports this folder, and with it torch, at the first request.
"""
