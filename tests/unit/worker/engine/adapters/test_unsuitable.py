"""A worker refuses adapters that cannot be trained on a base model, in the same words as the API."""

import pytest
from pydantic import TypeAdapter

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from core.methods.registry import AdapterOptions
from core.methods.suitability import why_unsuitable
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec
from tests.fixtures.models.unsuitable import UNSUITABLE, Asked, refusal_text
from worker.engine.adapters.attach import attach
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.start.initial_values import initial_values


def prepared(base: ResidentBase, asked: Asked) -> JobSpec:
    """Return a job's specification, and make the base look quantised or sharded as `asked`."""
    base.entry = base.entry.model_copy(update={"quantization": "nf4" if asked.quantised else None})
    base.sharded = asked.sharded
    return make_spec(adapter=TypeAdapter(AdapterOptions).validate_python(asked.adapter))


@pytest.mark.parametrize("asked", UNSUITABLE, ids=refusal_text)
def test_a_worker_refuses_in_the_words_of_the_api(base: ResidentBase, asked: Asked) -> None:
    spec = prepared(base, asked)
    expected = why_unsuitable(spec.adapter, base.entry, asked.sharded)
    assert expected is not None
    with pytest.raises(JobError) as raised:
        attach(base, "job", spec)
    error = raised.value
    assert (error.code, error.message, error.param) == ("invalid_adapter", expected.message, asked.param)


NEEDING_INITIAL_VALUES = [
    asked
    for asked in UNSUITABLE
    if asked.adapter.get("init_lora_weights") in ("loftq", "eva", "corda", "lora_ga")
]


@pytest.mark.parametrize("asked", NEEDING_INITIAL_VALUES, ids=refusal_text)
def test_initial_values_are_refused_before_rows_or_weights_are_looked_at(
    base: ResidentBase, asked: Asked
) -> None:
    spec = prepared(base, asked)
    with pytest.raises(JobError) as raised:
        initial_values(base, spec, make_rows(4, 0), {}, lambda: pytest.fail("it has begun"))
    assert raised.value.param == asked.param


def test_a_refusal_by_peft_that_is_not_about_modules_has_peft_s_own_reason(
    base: ResidentBase,
) -> None:
    with pytest.raises(
        JobError, match=r"LoRA with these options cannot be trained .* rank to be even, got 3"
    ) as raised:
        TrainableAdapter(base, "job", LoraAdapter(r=3, init_lora_weights="orthogonal"), 0)
    assert (raised.value.code, raised.value.param) == ("invalid_adapter", "adapter")
