"""Products of frozen weights in floating-point numbers of 8 bits, for GPUs whose tensor cores take them.

Trainers use them.
"""
