"""A deterministic job's adapter has the same bits, whoever trains beside it."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter, TrainingOptions
from core.objectives.dpo import Dpo
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.objectives import rows_of
from tests.fixtures.engine.rows import make_rows, shared_rows
from tests.fixtures.engine.training import make_spec, make_trainee, train
from worker.engine.base import joining_trial
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.joining_trial import can_join
from worker.engine.decoders.head import head_losses
from worker.engine.kernels.loss import TokenLosses
from worker.engine.step.trainee import Trainee

DETERMINISTIC = TrainingOptions(learning_rate=1e-2, deterministic=True)
MAX_TOKENS = 200  # holds a step of each job, and of several small ones


@pytest.fixture
def typed_base(dtype: str, joins: bool, tiny_folder: Path) -> Iterator[ResidentBase]:
    """The tiny base with two lanes, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    base = ResidentBase(TINY.model_copy(update={"dtype": dtype}), tiny_folder, "0" * 64, torch.device("cpu"))
    assert base.joins_jobs, "the machine multiplies rows differently when there are more of them"
    base.joins_jobs = joins
    yield base
    torch.set_num_threads(before)


class Bench:
    """Trains one job in different company, and gives the hash of its adapter."""

    def __init__(self, base: ResidentBase, spec: JobSpec, folder: Path) -> None:
        self.base, self.folder = base, folder
        self.spec, self.rows = spec, rows_of(spec, 4)

    def job(self) -> Trainee:
        return make_trainee(self.base, "job", self.spec, self.rows)

    def neighbour(self, number: int) -> Trainee:
        """Return one of four: they differ in rank, targets, dropout, rows and rows of a step, and one
        is deterministic too."""
        adapter = LoraAdapter(r=2 + number, lora_dropout=0.2 * (number % 2))
        if number == 2:
            adapter = LoraAdapter(r=3, target_modules=["layers.1.mlp.down_proj", "q_proj"])
        size = Hyperparameters(n_epochs=9, batch_size=1 + 3 * number, learning_rate_multiplier=2.0)
        training = TrainingOptions(learning_rate=1e-2, deterministic=number == 3)
        rows = shared_rows(number) if number == 1 else make_rows(20, number + 1)
        return make_trainee(
            self.base,
            f"neighbour {number}",
            make_spec(adapter=adapter, hyperparameters=size, training=training),
            rows,
        )

    def train(self, trainees: list[Trainee], rounds: int) -> None:
        train(self.base, trainees, rounds, MAX_TOKENS)

    def hash_of(self, job: Trainee) -> str:
        assert job.finished
        job.adapter.save(self.folder)
        return sha256((self.folder / WEIGHTS_NAME).read_bytes()).hexdigest()


@pytest.mark.family(1)
@pytest.mark.parametrize(
    ("dtype", "joins", "changes"),
    [
        ("fp32", False, {}),
        ("bf16", True, {"adapter": LoraAdapter(r=4, lora_dropout=0.3)}),
        ("bf16", True, {"objective": Dpo()}),
    ],
    ids=["apart", "dropout", "dpo"],
)
def test_a_deterministic_job_gives_the_same_bits_alone_and_in_any_company(
    typed_base: ResidentBase, tmp_path: Path, changes: dict[str, object]
) -> None:
    bench = Bench(typed_base, make_spec(training=DETERMINISTIC, **changes), tmp_path)
    hashes = {}

    alone = bench.job()
    steps = alone.total_steps
    half = steps // 2
    bench.train([alone], steps)
    hashes["alone"] = bench.hash_of(alone)

    first = bench.job()
    bench.train([bench.neighbour(0), first], steps)
    hashes["after a neighbour"] = bench.hash_of(first)

    cancelled, second = bench.neighbour(3), bench.job()
    bench.train([second, cancelled, bench.neighbour(1)], half)
    bench.train([second, bench.neighbour(2)], steps - half)
    hashes["among some who leave and some who come"] = bench.hash_of(second)

    killed = bench.job()
    bench.train([bench.neighbour(2), bench.neighbour(3), killed], half)
    save_file(killed.state(), tmp_path / "state")
    resumed = bench.job()
    resumed.restore(half, load_file(tmp_path / "state"))
    bench.train([resumed, bench.neighbour(1), bench.neighbour(0)], steps - half)
    hashes["resumed in another cohort"] = bench.hash_of(resumed)

    assert len(set(hashes.values())) == 1, hashes


@pytest.mark.parametrize(("dtype", "joins"), [("fp32", True)])
def test_a_product_whose_rows_depend_on_their_number_keeps_jobs_apart(
    typed_base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def depending(hidden_SD: Tensor, *rest: Any) -> TokenLosses:
        return head_losses(hidden_SD * (1 + len(hidden_SD) / 10), *rest)

    assert can_join(typed_base.decoder)
    monkeypatch.setattr(joining_trial, "head_losses", depending)
    assert not can_join(typed_base.decoder)
