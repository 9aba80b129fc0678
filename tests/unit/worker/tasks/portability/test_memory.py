"""A measurement that nobody has asked for takes no memory that the training needs."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from peft import LoraConfig

from core.errors import JobError
from core.portability.report import Measurement, Prompts
from tests.fixtures.models.random_adapters import MakeSource
from worker.adapter_files.folder import CARD, write_manifest
from worker.tasks.frame.work import Work
from worker.tasks.portability.measure import measure_task

MEASURED = Measurement(
    prompts=Prompts(count=0, from_validation_file=0, from_general_list=0, new_tokens=16), runtimes=[]
)


@pytest.mark.parametrize(
    ("started_by_job", "copies", "measured"), [(True, 3, False), (True, 5, True), (False, 3, True)]
)
def test_it_is_left_out_where_little_memory_is_free_unless_a_client_asks(
    make_source: MakeSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started_by_job: bool,
    copies: int,
    measured: bool,
) -> None:
    source = make_source(LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    (weights,) = source.base_folder.glob("*.safetensors")
    (source.folder / CARD).write_text("# A card\n")
    write_manifest(source.folder, {}, quantised=False)
    here: dict[str, Any] = {
        "measure.open_source": lambda _: nullcontext(source),
        "measure._validation_file": lambda _: None,
        "measure._is_the_project_s_own": lambda _: True,
        "measure.measure": lambda *_: MEASURED,
        "memory.free_bytes": lambda _: copies * weights.stat().st_size,
    }
    for name, value in here.items():
        monkeypatch.setattr(f"worker.tasks.portability.{name}", value)
    task = SimpleNamespace(started_by_job=started_by_job)
    settings = SimpleNamespace(vllm_python=None)
    work = SimpleNamespace(store=None, settings=settings, task=task, progress=lambda *_: None)
    if measured:
        assert measure_task(cast(Work, work), tmp_path) == MEASURED
        return
    with pytest.raises(JobError, match="Measure the adapter when a worker has more") as refused:
        measure_task(cast(Work, work), tmp_path)
    assert refused.value.code == "not_enough_memory"
