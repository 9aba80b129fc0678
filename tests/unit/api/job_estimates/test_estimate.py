"""The estimate of a job says what fits, how long it takes and what to change; and it needs no torch."""

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from api.job_estimates.estimate import estimate
from api.job_estimates.facts import Facts
from api.job_estimates.rows import Rows
from core.catalog import BaseModelEntry
from core.estimates.job.devices import CARDS, cpu, gpu
from core.estimates.job.report import DeviceEstimate, Estimate
from core.jobs.ancestor import Ancestor
from core.jobs.measured import rate_of
from core.jobs.spec import JobSpec, TrainingOptions
from core.methods.low_rank import LoraAdapter
from core.methods.registry import AdapterOptions
from core.methods.vectors import Ia3Adapter
from core.methods.whole import FullTuning
from core.objectives.dpo import Dpo
from core.objectives.hyperparameters import Hyperparameters
from core.objectives.registry import AnyObjective
from core.objectives.reinforcement import Reinforcement
from core.objectives.supervised import Supervised

LLAMA_8B = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
EXPERTS = {"num_experts_per_tok": 4, "moe_intermediate_size": 768, "head_dim": 128}
ENTRY = BaseModelEntry(
    id="llama-8b", repository="example/Llama", source="hub", revision="main", license="x", max_length=8192
)
ROWS = Rows.counted(1000, 1, 200_000, 512, 1000 * 210.0**2)
HERE = cpu("a CPU", 16 * 10**9, 2, 2)
L4 = CARDS[1]


def estimated(
    adapter: AdapterOptions = LoraAdapter(),
    machines: Any = CARDS,
    rows: Rows = ROWS,
    configuration: dict[str, Any] | None = LLAMA_8B,
    precision: Any = "none",
    eval_steps: int | None = None,
    objective: AnyObjective = Supervised(),
    lineage: list[Ancestor] | None = None,
    **facts: Any,
) -> Estimate:
    spec = JobSpec(
        base_model=ENTRY.id,
        seed=1,
        hyperparameters=Hyperparameters(n_epochs=2, batch_size=8, learning_rate_multiplier=1.0),
        adapter=adapter,
        training=TrainingOptions(max_length=8192, quantization=precision, eval_steps=eval_steps),
        objective=objective,
        lineage=lineage or [],
    )
    known = Facts(ENTRY.in_precision(precision), ENTRY, configuration, rows, **facts)
    return estimate(spec, known, machines, with_options=True)


def on(found: Estimate, device: str) -> DeviceEstimate:
    return next(each for each in found.devices if each.device == device)


def test_an_estimate_needs_no_torch() -> None:
    torch_is_imported = "any(n in sys.modules for n in ('torch', 'transformers'))"
    code = f"import sys, api.job_estimates.estimate; sys.exit({torch_is_imported})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tokens_and_steps_count_all_epochs() -> None:
    found = estimated()
    assert (found.tokens.count, found.tokens.exact) == (400_000, True)
    assert (found.steps.count, found.steps.per_epoch) == (250, 125)
    assert found.unknown == []


def test_a_token_takes_the_updates_of_the_experts_that_it_meets_and_no_others() -> None:
    def operations(experts: int, adapter: AdapterOptions) -> float:
        configuration = {**LLAMA_8B, **EXPERTS, "model_type": "qwen3_moe", "num_experts": experts}
        found = estimated(adapter, [], configuration=configuration).operations
        assert found is not None
        return found.training

    everywhere, beside = LoraAdapter(r=16), LoraAdapter(r=16, target_parameters=[])
    assert operations(64, everywhere) == operations(16, everywhere)
    numbers = 32 * 4 * 16 * (4096 + 2 * 768 + 768 + 4096)
    tokens = 2 * 200_000
    assert operations(64, everywhere) - operations(64, beside) == pytest.approx(6 * numbers * tokens)


def test_evaluations_are_counted_each_once_in_no_memory_of_their_number() -> None:
    few = estimated(machines=[], eval_steps=50, validation=ROWS)
    assert few.steps.evaluations == 6  # of 250 steps, one ends both
    many = Rows.counted(4_000_000, 1, 800_000_000, 512, 4_000_000 * 210.0**2)
    tracemalloc.start()
    found = estimated(machines=[], rows=many, validation=ROWS, eval_steps=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.steps.evaluations == 1_000_000
    assert peak < 2_000_000


def test_an_8b_model_fits_a_24_gb_card_with_lora_and_an_80_gb_card_trains_more_of_its_rows_at_once() -> None:
    found = estimated()
    small, large = on(found, "l4"), on(found, "h100")
    assert small.fits
    assert large.fits
    assert small.memory is not None
    assert small.memory.base_bytes == 2 * 8_030_261_248
    assert small.memory.peak_bytes + small.memory.runtime_bytes < small.memory_bytes
    assert small.largest_batch is not None
    assert large.largest_batch is not None
    assert small.largest_batch < large.largest_batch
    assert small.seconds is not None
    assert large.seconds is not None
    assert small.seconds.expected > large.seconds.expected


def test_what_does_not_fit_says_what_to_change_and_each_change_alone_helps() -> None:
    found = on(estimated(FullTuning()), "h100")
    assert found.fits is False
    assert found.seconds is None
    assert [(each.param, each.value) for each in found.changes] == [("adapter.type", "lora")]
    assert on(estimated(LoraAdapter()), "h100").fits

    tight = on(estimated(machines=[HERE]), "this-machine")
    assert tight.fits is False
    assert [change.param for change in tight.changes] == ["training.quantization"] * 2
    for change in tight.changes:
        assert on(estimated(machines=[HERE], precision=change.value), "this-machine").fits


def test_a_device_on_which_no_change_alone_helps_does_not_say_that_nothing_helps() -> None:
    small = replace(HERE, memory_bytes=2 * 1024**3)
    (change,) = on(estimated(FullTuning(), machines=[small]), "this-machine").changes
    assert change.param == "model"
    assert "several changes together: no other change alone" in change.message


def test_the_parent_of_a_whole_model_is_counted_where_it_is_the_reference() -> None:
    """Two copies in fp32: the parent's weights, and the job's own while the reference computes."""
    parent = [Ancestor(model="ft:llama-8b", sha256="0" * 64)]
    huge = replace(HERE, memory_bytes=10**12)

    def held(objective: AnyObjective, lineage: list[Ancestor]) -> int:
        found = estimated(FullTuning(), [huge], objective=objective, lineage=lineage)
        memory = on(found, "this-machine").memory
        assert memory is not None
        return memory.adapter_bytes

    alone = held(Dpo(), [])
    assert held(Dpo(), parent) == alone + 8 * 8_030_261_248
    assert held(Supervised(), parent) == alone


def test_rows_that_are_too_long_are_told_which_length_fits() -> None:
    long = Rows.counted(1000, 1, 200_000, 131_072, 1000 * 210.0**2)
    found = on(estimated(machines=[L4], rows=long), "l4")
    (length,) = [change.value for change in found.changes if change.param == "training.max_length"]
    assert isinstance(length, int)
    assert on(estimated(machines=[L4], rows=replace(long, longest=length)), "l4").fits
    assert not on(estimated(machines=[L4], rows=replace(long, longest=length + 64)), "l4").fits


def test_the_options_have_both_methods_in_each_precision_that_suits_them() -> None:
    options = on(estimated(), "a100-80gb").options
    assert [(each.method, each.quantization) for each in options] == [
        ("lora", "none"),
        ("lora", "nf4"),
        ("lora", "int8"),
        ("full", "none"),
    ]
    none, nf4 = options[:2]
    assert none.peak_bytes is not None
    assert nf4.peak_bytes is not None
    assert nf4.peak_bytes < none.peak_bytes


def test_what_cannot_be_predicted_is_null_and_says_why() -> None:
    for found in (estimated(configuration=None), estimated(Ia3Adapter())):
        assert {device.fits for device in found.devices} == {None}
        assert found.disk is None
        assert len(found.unknown) == 1
    assert "ia3" in estimated(Ia3Adapter()).unknown[0]


def test_a_measured_rate_decides_here_and_a_price_follows_from_the_operators_rate() -> None:
    machines = [L4, cpu("a CPU", 64 * 10**9, 2, 2)]
    found = estimated(machines=machines, rates=[1e12, 2e12, 4e12], prices={"this-machine": 0.5})
    here, card = on(found, "this-machine"), on(found, "l4")
    assert here.seconds is not None
    assert card.seconds is not None
    assert (here.seconds.basis, card.seconds.basis) == ("measured", "rule")
    assert found.operations is not None
    assert here.seconds.expected == pytest.approx(found.operations.training / 2e12, rel=0.35)
    assert here.price is not None
    assert here.price.expected == pytest.approx(here.seconds.expected / 3600 * 0.5, rel=0.01)
    assert card.price is None


def test_a_guessed_number_of_tokens_widens_the_time() -> None:
    guessed = estimated(rows=Rows.guessed(1000, 10**6, 4000, 1, 8192))
    assert not guessed.tokens.exact
    seconds = on(guessed, "h100").seconds
    assert seconds is not None
    assert seconds.least < seconds.expected < seconds.most
    assert len(guessed.unknown) == 1


@pytest.mark.parametrize(
    ("title", "card"),
    [("NVIDIA A100-SXM4-40GB", "a100-40gb"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA L4", "l4")],
)
def test_a_driver_s_name_is_recognised(title: str, card: str) -> None:
    known = next(each for each in CARDS if each.name == card)
    assert gpu(title, 10**9, 2).flops == known.flops


def test_a_card_with_a_similar_name_is_another_one() -> None:
    assert gpu("NVIDIA L40S", 10**9, 2).flops != L4.flops


def rewarded(**asked: Any) -> Reinforcement:
    grader = {"type": "string_check", "name": "a", "input": "a", "reference": "b", "operation": "eq"}
    return Reinforcement.model_validate({"grader": grader, "eval_interval": 25, **asked})


def test_rewards_take_a_row_for_each_answer_at_its_longest() -> None:
    found = estimated(objective=rewarded(num_generations=4, max_completion_tokens=100), validation=ROWS)
    tokens = found.tokens
    assert tokens.sampled == 2 * 1000 * 4 * 100
    assert tokens.count == 2 * 4 * 200_000 + tokens.sampled
    assert (tokens.longest_row, tokens.exact) == (612, False)
    assert tokens.least == 2 * 4 * (200_000 + 1000), "an answer has a token at least"
    assert tokens.computed == 2 * 200_000 + tokens.sampled, "a prompt is computed once for all of its answers"
    assert (found.steps.count, found.steps.exact) == (250, True)
    assert found.steps.evaluations == 11, "before the first step, and after each 25th"


def test_rewards_keep_checkpoints_of_the_three_best_validations_and_not_of_epochs() -> None:
    def listed(interval: int) -> int:
        found = estimated(objective=rewarded(eval_interval=interval), validation=ROWS).disk
        assert found is not None
        for_resume = 2 * found.checkpoint_bytes
        return round((found.checkpoints_bytes - for_resume) / (found.checkpoint_bytes + found.result_bytes))

    assert (listed(250), listed(100)) == (2, 3)


def test_rewards_promise_no_time_and_say_why() -> None:
    found = estimated(objective=rewarded(), validation=ROWS)
    assert on(found, "h100").fits
    assert all(each.seconds is None and each.price is None for each in found.devices)
    assert [reason.partition(":")[0] for reason in found.unknown[:2]] == [
        "Time and price",
        "The exact number of tokens",
    ]


def test_longer_answers_and_more_of_them_take_more() -> None:
    few, many, long = (
        estimated(objective=rewarded(**asked), validation=ROWS)
        for asked in ({"num_generations": 4}, {"num_generations": 8}, {"max_completion_tokens": 2048})
    )
    sampled = [each.operations.sampling for each in (few, many) if each.operations]
    assert 1.5 < sampled[1] / sampled[0] < 2, "prompts are computed once"
    assert few.disk == many.disk, "answers are not kept with the rows"
    few_bytes, long_bytes = (
        each.memory.activations_bytes for each in (on(few, "h200"), on(long, "h200")) if each.memory
    )
    assert few_bytes < long_bytes


def test_a_job_with_rewards_says_nothing_of_the_speed_of_others() -> None:
    measured = {"trained_seconds": 100.0, "trained_tokens": 400_000}
    assert rate_of(estimated().model_dump(mode="json"), measured)
    assert rate_of(estimated(objective=rewarded()).model_dump(mode="json"), measured) is None
