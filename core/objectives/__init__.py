"""Objectives: what a job minimises. Each one is described in the file of its name.

The schema of a request, the choices of `tunery jobs create --method`, the kind of dataset and the worker's
loss (`worker/engine/objectives`) follow from NAMES and these files. API, command line and worker import this
folder. This module imports no library, so that the command line starts fast.
"""

NAMES = ("supervised", "dpo", "orpo", "kto", "simpo", "reinforcement", "distillation")
"""The objectives on offer, in the order in which they are shown. The module of each name holds OBJECTIVE."""
