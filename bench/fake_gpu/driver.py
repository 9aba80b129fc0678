"""Stands in the place of CUDA's driver, so that PyTorch's CUDA build runs where there is none."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("driver.c")


def load() -> None:
    """Load the stand-in, before PyTorch. It needs a C compiler, and the CUDA headers of Triton's wheel."""
    assert "torch" not in sys.modules, "PyTorch has found its driver already"
    found = find_spec("triton")
    if found is None or not found.submodule_search_locations:
        sys.exit(
            "This needs PyTorch's CUDA build: python -m bench.peers.venvs --only cuda makes an environment."
        )
    headers = Path(found.submodule_search_locations[0]) / "backends" / "nvidia" / "include"
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "libcuda.so.1"
        options = ["-shared", "-fPIC", f"-I{headers}", "-Wl,-soname,libcuda.so.1"]
        subprocess.run(["cc", *options, str(SOURCE), "-o", str(built)], check=True)
        ctypes.CDLL(str(built), ctypes.RTLD_GLOBAL)
