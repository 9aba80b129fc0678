"""The door to an upstream: a vLLM server that samples in place of the server's own sampler.

`tunery serve` uses this folder if `TUNERY_SERVE_UPSTREAM` is set. It imports
torch when the first request comes, to check adapters.
"""
