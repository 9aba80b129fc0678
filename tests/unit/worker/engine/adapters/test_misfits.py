"""Adapters on base models that they cannot be trained on: a worker's last line, in the API's own words."""

import pytest
from pydantic import TypeAdapter

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from core.methods.offered import OfferedAdapter
from core.methods.suitability import why_unsuitable
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec
from tests.fixtures.misfits import MISFITS, Asked, told
from worker.engine.adapters.attach import attach
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.start.beginning import beginning


def prepared(base: ResidentBase, asked: Asked) -> JobSpec:
    """A job's specification; the base looks as if it were held so."""
    base.entry = base.entry.model_copy(update={"quantization": "nf4" if asked.quantised else None})
    base.sharded = asked.sharded
    return make_spec(adapter=TypeAdapter(OfferedAdapter).validate_python(asked.adapter))


@pytest.mark.parametrize("asked", MISFITS, ids=told)
def test_a_worker_refuses_in_the_words_of_the_api(base: ResidentBase, asked: Asked) -> None:
    spec = prepared(base, asked)
    expected = why_unsuitable(spec.adapter, base.entry, asked.sharded)
    assert expected is not None
    with pytest.raises(JobError) as raised:
        attach(base, "job", spec)
    error = raised.value
    assert (error.code, error.message, error.param) == ("invalid_adapter", expected.message, asked.param)


BEGINNINGS = [
    asked for asked in MISFITS if asked.adapter.get("init_lora_weights") in ("loftq", "eva", "corda")
]


@pytest.mark.parametrize("asked", BEGINNINGS, ids=told)
def test_a_beginning_is_refused_before_rows_or_weights_are_looked_at(
    base: ResidentBase, asked: Asked
) -> None:
    spec = prepared(base, asked)
    with pytest.raises(JobError) as raised:
        beginning(base, spec, make_rows(4, 0), {}, lambda: pytest.fail("it has begun"))
    assert raised.value.param == asked.param


def test_what_peft_refuses_for_another_reason_than_modules_is_told_as_peft_tells_it(
    base: ResidentBase,
) -> None:
    with pytest.raises(JobError, match=r"LoRA cannot be trained so .* rank to be even, got 3") as raised:
        TrainableAdapter(base, "job", LoraAdapter(r=3, init_lora_weights="orthogonal"), 0)
    assert (raised.value.code, raised.value.param) == ("invalid_adapter", "adapter")
