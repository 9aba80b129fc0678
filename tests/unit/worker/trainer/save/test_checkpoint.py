"""What a checkpoint holds: the last state of a LoRA is in the adapter's file, and is not written twice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.storage.file_names import POSITION_NAME, STATE_NAME, WEIGHTS_NAME
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee, train
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.trainee import Trainee
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.save.checkpoint import ForeignCheckpoint, _load, write_checkpoint

pytestmark = pytest.mark.family(2)

FINGERPRINT = "a fingerprint"
METHODS: dict[str, Any] = {
    "lora": LoraAdapter(r=4),
    "dora": LoraAdapter(r=4, use_dora=True),
    "pissa": LoraAdapter(r=4, init_lora_weights="pissa"),
    "dynamic rank": LoraAdapter(r=4, dynamic_rank=True),
    "adalora": AdaLoraAdapter(target_r=2, init_r=4, tinit=1, tfinal=1),
}


def write(trainee: Trainee, folder: Path) -> None:
    trained = SimpleNamespace(
        adapter=trainee.adapter,
        step=trainee.step,
        is_promised=True,
        still_promised=None,
        at_best=False,
        record=TrainingRecord(),
        state=trainee.state,
    )
    folder.mkdir()
    write_checkpoint(cast(Any, trained), folder, FINGERPRINT)


@pytest.mark.parametrize("method", METHODS)
def test_a_job_goes_on_from_its_last_state_wherever_that_is_written(
    base: ResidentBase, tmp_path: Path, method: str
) -> None:
    spec = make_spec(adapter=METHODS[method])
    trainee, resumed = (make_trainee(base, name, spec, make_rows(12, 0)) for name in ("job", "resumed"))
    train(base, [trainee], trainee.steps_per_epoch)
    write(trainee, tmp_path / "within")
    assert (tmp_path / "within" / STATE_NAME).exists(), "the adapter's file has no moments"
    train(base, [trainee], trainee.total_steps - trainee.step)
    write(trainee, tmp_path / "last")
    written = {path.name for path in (tmp_path / "last").iterdir()}
    assert {WEIGHTS_NAME, POSITION_NAME} <= written
    assert (STATE_NAME in written) == (method in ("pissa", "adalora")), "their files hold other tensors"
    step, state, _ = _load(tmp_path / "last", FINGERPRINT)
    resumed.restore(step, state)
    assert resumed.finished
    assert torch.equal(resumed.adapter.parameters.master, trainee.adapter.parameters.master)
    for each in ("within", "last"):
        with pytest.raises(ForeignCheckpoint):
            _load(tmp_path / each, "another fingerprint")
