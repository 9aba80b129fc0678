"""GGUF files for llama.cpp: of an adapter, and of a merged model with its tokenizer."""
