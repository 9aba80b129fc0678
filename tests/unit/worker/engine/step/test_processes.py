"""Processes that `torchrun` starts train jobs together, and do what one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.engine.train_on_processes import train
from tests.fixtures.paths import REPOSITORY
from worker.engine.base.base_model import ResidentBase

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]  # they start two processes from nothing

Seen = list[dict[str, Any]]
"""One item for each process."""


@pytest.fixture(scope="module")
def seen(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Return the results of two processes on gloo."""
    out = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.fixtures.engine.train_on_processes", str(tiny_folder), str(out)]
    subprocess.run(
        command, check=True, timeout=500, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return [json.loads((out / f"{process}.json").read_text()) for process in range(2)]


@pytest.mark.parametrize(
    ("how", "path"),
    [
        ("whole", "fast"),
        ("sharded", "portable"),
        ("recomputed", "fast"),
        ("sharded, recomputed", "portable"),
    ],
)
def test_two_processes_give_the_losses_and_the_adapters_of_one(
    base: ResidentBase, seen: Seen, how: str, path: str
) -> None:
    alone = train(base)
    first, second = (process[how] for process in seen)
    assert first["adapters"] == second["adapters"]
    # Sums in another order: AdamW makes a small difference of a gradient near 0 a larger one of its step
    assert first["adapters"] == pytest.approx(alone["adapters"], abs=3e-5)
    for process in (first, second):
        assert process["path"] == path
        assert process["rounds"] > 5, "no step was spread"
        assert process["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert process["validation"] == pytest.approx(alone["validation"], rel=1e-5)


def test_each_process_computes_a_part(seen: Seen) -> None:
    one, other = (process["whole"]["batches"] for process in seen)
    assert one > other  # which had nothing to do in rounds of a single micro-batch
    assert other > len(seen[0]["whole"]["losses"]) / 2


def test_sharded_processes_compute_in_step_and_hold_half_of_the_layers(
    base: ResidentBase, seen: Seen
) -> None:
    first, second = (process["sharded"] for process in seen)
    assert first["batches"] == second["batches"]
    layers = sum(parameter.numel() for parameter in base.model.model.layers.parameters())
    assert first["held"] + second["held"] == layers


@pytest.mark.parametrize(
    ("how", "again"),
    [
        ("whole", "recomputed"),
        ("whole", "recomputed from host"),
        ("sharded", "sharded, recomputed"),
        ("sharded", "sharded, recomputed from host"),
    ],
)
def test_recomputed_layers_give_the_same_adapters_to_the_bit(seen: Seen, how: str, again: str) -> None:
    for process in seen:
        assert process[again]["adapters"] == process[how]["adapters"]


def test_a_fault_of_one_process_is_met_by_all(seen: Seen) -> None:
    assert [process["errors"] for process in seen] == [["out_of_memory"]] * 2
