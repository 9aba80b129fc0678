"""The training engine: many adapters on one resident, frozen base model.

Axes, as suffixes of tensor names: T tokens of a micro-batch, laid end to end without padding; S supervised
tokens; D hidden; K inputs and N outputs of a projection; R rank; H query heads; J key heads; G query heads
that share a key head; E head size; I inner width of the MLP; V vocabulary; L tokens of one segment; X rows
(examples).
"""
