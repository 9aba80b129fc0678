"""The losses of jobs that sample their answers, in words. Each one is described in the file of its name.

The computation of each is in the file of the same name in `worker/engine/objectives/policy`. This module
imports no library.
"""

NAMES = ("importance_sampling", "grpo", "dapo", "dr_grpo", "gspo", "cispo")
"""The losses on offer, in the order in which they are shown. The module of each name holds DESCRIPTION."""
