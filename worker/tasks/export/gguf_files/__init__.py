"""GGUF files for llama.cpp: of an adapter, and of a merged model with its tokenizer.

The processes of exports and of measurements write them.
"""
