"""The fast path: the next tokens of all requests in one forward pass, over a pool of keys and values.

It runs in the sampler's thread, for base models that have the fast or the portable decoder.
"""
