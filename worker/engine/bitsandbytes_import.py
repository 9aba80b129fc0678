"""Imports bitsandbytes, if it is installed, without PyTorch's compiler.

PEFT imports bitsandbytes. While it is imported, bitsandbytes calls `torch.compile` for functions that stand
in where a device has no kernel of its own. These calls alone would import the compiler, which takes 55 MB and
more than a second of processor time. So the functions stay as they are.

On processors with AVX-512 and bf16, bitsandbytes also warns that it has no kernel of the hub for 4 bits. The
engine has its own (`worker/engine/native`), so nobody needs to read this.
"""

import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import torch


def import_without_compiler() -> None:
    """Import bitsandbytes. Call it before anything imports PEFT."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    compiler = torch.compile
    torch.compile = _as_it_is  # type: ignore[assignment]
    try:
        import bitsandbytes  # noqa: F401
    finally:
        torch.compile = compiler


def _as_it_is(function: Callable[..., Any], **_options: Any) -> Callable[..., Any]:
    return function
