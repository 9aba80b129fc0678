"""The engine: it trains and samples many adapters on one resident, frozen base model.

The name of a tensor ends in its axes, one letter for each axis. So `x_TK` has T tokens by K inputs.

    T  tokens of a micro-batch, which lie end to end without padding
    S  supervised tokens: those that a row learns to predict, and that the loss counts
    L  tokens of one row or of one segment
    X  rows
    A  adapters
    D  hidden size of the model
    K  inputs of a projection
    N  outputs of a projection
    R  rank of a low-rank update
    H  query heads
    J  key heads, and so value heads
    G  query heads that share one key head
    E  size of one head
    I  inner width of the MLP
    V  vocabulary

A digit is an axis of that length: `rstd_T1` is [T, 1], and `kv_2JTE` holds keys and values. A module that
needs more letters explains them in its docstring; they hold in that module alone.
"""

from worker.engine.bitsandbytes_import import import_without_compiler

import_without_compiler()  # here, before any module of the engine imports PEFT
