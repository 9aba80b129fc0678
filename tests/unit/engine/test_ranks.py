"""Processes that `torchrun` starts train one job together, and do what one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.engine.rows import shared_rows
from tests.unit.engine.test_training import MAX_TOKENS, make_member, make_spec, train
from worker.engine.base_model import ResidentBase
from worker.engine.loop import evaluate

ROOT = Path(__file__).parents[3]
ROUNDS = 3


def test_two_processes_give_the_losses_and_the_adapter_of_one(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["tests.unit.engine.train_on_ranks", str(tiny_folder), str(tmp_path), str(ROUNDS)]
    subprocess.run(command, check=True, timeout=120, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    adapters = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    member = make_member(base, "job", make_spec(), shared_rows())
    alone = train(base, [member], ROUNDS)["job"]
    validation = evaluate(base, member.adapter, member.rows, MAX_TOKENS).loss
    assert torch.equal(*adapters)
    assert torch.allclose(adapters[0], member.adapter.parameters.master, atol=1e-5)
    for rank in seen:
        assert rank["losses"] == pytest.approx(alone, rel=1e-5)
        assert rank["validation"] == pytest.approx(validation, rel=1e-5)
    assert seen[0]["batches"] == seen[1]["batches"]
