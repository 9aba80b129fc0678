"""The GPU's code on a machine without a GPU: each step on tensors without values, and each kernel compiled.

Both need PyTorch's CUDA build. `python -m bench.peers.venvs --only cuda` makes an environment with it, or the
variable CUDA_VENV names the Python of one.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import ROOT
from bench.peers.venvs import DEFAULT_VENVS, interpreter

OWN = sys.executable if torch.version.cuda else str(interpreter(DEFAULT_VENVS, "cuda"))
PYTHON = Path(os.environ.get("CUDA_VENV", OWN))
GUIDE = ROOT / "docs" / "gpu.md"
LAUNCHES_OF_A_LAYER = 200

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not PYTHON.exists(), reason="no CUDA build of PyTorch: python -m bench.peers.venvs --only cuda"
    ),
]


def run(*arguments: str) -> list[dict[str, Any]]:
    command = [str(PYTHON), "-m", "bench.fake_gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def places_with_reasons() -> set[str]:
    """Return the places in the guide's table of waits."""
    return set(re.findall(r"^\| `(\S+\.py:\S+)` \|", GUIDE.read_text("utf-8"), re.MULTILINE))


def test_every_step_runs_on_a_gpu_and_waits_for_it_only_where_the_guide_says_why() -> None:
    steps = run("steps", "--few-layers")
    assert len(steps) > 20
    waits = {place for step in steps for place in step["waits"]}
    assert waits == places_with_reasons()


def test_the_guide_names_places_that_exist() -> None:
    for place in places_with_reasons():
        path, _, function = place.partition(":")
        names = {
            node.name
            for node in ast.walk(ast.parse((ROOT / "worker" / path).read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert set(function.replace(".<genexpr>", "").split(".")) <= names, place


@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90", "sm_100", "sm_120"])
def test_every_kernel_compiles_and_fits(architecture: str) -> None:
    kernels = run("kernels", "--only", architecture)
    assert {"attended, Llama 3 8 B", "in_one_kernel, with the gradient"} <= {
        one["function"] for one in kernels
    }
    for one in kernels:
        assert one["occupancy"] != "0%", one
