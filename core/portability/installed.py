"""Which other runtimes this machine has, in which a worker measures adapters."""

import importlib.util
from pathlib import Path

from core.portability.report import Runtime


def other_runtimes(vllm_python: Path | None) -> list[Runtime]:
    """Return the runtimes besides PEFT: vLLM by the Python that the settings name, llama.cpp by its wheel."""
    found: list[Runtime] = []
    if vllm_python is not None and vllm_python.exists():
        found.append("vllm")
    if importlib.util.find_spec("xllamacpp") is not None:
        found.append("llama_cpp")
    return found
