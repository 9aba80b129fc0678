"""Layers whose tokens meet in a state or in a convolution, as the segments of a micro-batch allow it.

They run where the engine computes with transformers' modules.
"""
