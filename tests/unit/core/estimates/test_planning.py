"""The cheapest memory plan that fits is taken, and an error says what to change if none does."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from peft.utils.other import get_pattern_key

from api.job_estimates.fit import Room
from core.errors import JobError
from core.estimates.job.devices import CARDS
from core.estimates.memory import memory, step_memory
from core.estimates.memory_plan import MemoryPlan, Recompute
from core.estimates.planning import ENOUGH_TOKENS, MOST_TOKENS, SPARE, cheapest, room_for_adapters, usable
from core.estimates.shapes import Load, ModelShape, base_bytes
from core.methods.low_rank import LoraAdapter
from core.methods.targets import rank_of

GB = 10**9
LLAMA_8B = ModelShape(
    layers=32,
    hidden=4096,
    inner=14336,
    heads=32,
    key_heads=8,
    head_size=128,
    vocabulary=128256,
    tied=False,
)
SMALL = ModelShape(
    layers=30,
    hidden=576,
    inner=1536,
    heads=9,
    key_heads=3,
    head_size=64,
    vocabulary=49152,
    tied=True,
)
LORA = LoraAdapter(r=16)
ON_GPU = Load.of(LLAMA_8B, [LORA], longest_row=512, device="gpu")
ON_THE_DEVICE = [Recompute.NONE, Recompute.GATE_UP, Recompute.LAYERS]
ON_CPU = Load.of(SMALL, [LORA], longest_row=512, device="cpu", lanes=2)


def needed(model: ModelShape, load: Load, recompute: Recompute, tokens: int) -> int:
    """Return the free memory with which this plan just fits."""
    step = step_memory(model, load, recompute, max(tokens, load.longest_row)).peak
    return round((load.state.total + step) / (1 - SPARE[load.device])) + 1


def test_the_estimates_need_no_torch() -> None:
    """The API answers from them."""
    code = "import sys, core.estimates.planning; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_weights_of_an_8b_model_are_counted() -> None:
    assert base_bytes(LLAMA_8B) == 2 * 8_030_261_248  # the parameters of Llama 3 8 B


@pytest.mark.parametrize(("number_bytes", "tokens"), [(2, 2560), (4, 1536)])
def test_a_cpu_with_plenty_of_memory_takes_the_usual_tokens_and_computes_nothing_again(
    number_bytes: int, tokens: int
) -> None:
    model = replace(SMALL, number_bytes=number_bytes)
    assert cheapest(model, ON_CPU, 8 * GB) == MemoryPlan(Recompute.NONE, tokens)
    room = room_for_adapters(model, ON_CPU, MemoryPlan(Recompute.NONE, tokens), 12 * GB)
    assert room == 4 * 1024**3


def test_a_cpu_keeps_its_tokens_as_long_as_to_compute_more_again_helps() -> None:
    for recompute in ON_THE_DEVICE:
        free = needed(SMALL, ON_CPU, recompute, 2560)
        assert cheapest(SMALL, ON_CPU, free) == MemoryPlan(recompute, 2560)
    fewer = cheapest(SMALL, ON_CPU, needed(SMALL, ON_CPU, Recompute.LAYERS, 1024))
    assert fewer.recompute is Recompute.LAYERS
    assert fewer.step_tokens == 1024


def test_a_gpu_takes_as_many_tokens_as_fit_before_it_computes_anything_again() -> None:
    assert cheapest(LLAMA_8B, ON_GPU, 200 * GB) == MemoryPlan(Recompute.NONE, MOST_TOKENS)
    for recompute in Recompute:
        free = needed(LLAMA_8B, ON_GPU, recompute, ENOUGH_TOKENS)
        assert cheapest(LLAMA_8B, ON_GPU, free, host_bytes=8 * GB) == MemoryPlan(recompute, ENOUGH_TOKENS)


def test_inputs_wait_on_the_host_only_where_it_has_memory_for_them() -> None:
    """A long row of Llama 8 B: 31 inputs of 256 MiB, for which PyTorch may take twice as much."""
    long = replace(ON_GPU, longest_row=32_768)
    free = needed(LLAMA_8B, long, Recompute.LAYERS_FROM_HOST, ENOUGH_TOKENS)
    enough = round(2 * 31 * 2**28 / (1 - SPARE["cpu"])) + 1
    assert cheapest(LLAMA_8B, long, free, host_bytes=enough).recompute is Recompute.LAYERS_FROM_HOST
    assert needed(LLAMA_8B, long, Recompute.LAYERS, ENOUGH_TOKENS) - free > 30 * 2**28
    for too_few in (0, enough - 9):
        with pytest.raises(JobError, match="The longest row has 32,768 tokens"):
            cheapest(LLAMA_8B, long, free, host_bytes=too_few)


def test_an_estimate_lets_longer_rows_fit_a_card_whose_host_holds_inputs() -> None:
    l4 = Room(LLAMA_8B, (LORA,), CARDS[1])
    on_the_card = replace(l4, offered=tuple(ON_THE_DEVICE))
    longest = l4.largest_length(100_000)
    assert longest > 1.3 * on_the_card.largest_length(100_000)
    assert l4.largest_batch(1000, 100) > on_the_card.largest_batch(1000, 100)
    found = l4.fit(longest)
    assert found.memory_plan is not None
    assert found.memory_plan.recompute is Recompute.LAYERS_FROM_HOST
    assert found.memory is not None
    assert 0.9 < found.memory.step.on_host / usable(CARDS[1].host_bytes, "cpu") <= 1


def test_an_operator_who_wants_inputs_on_the_host_of_a_cpu_gets_them_in_its_memory() -> None:
    offered = (Recompute.LAYERS_FROM_HOST,)
    assert cheapest(SMALL, ON_CPU, 8 * GB, offered) == MemoryPlan(Recompute.LAYERS, 2560)
    assert cheapest(LLAMA_8B, ON_GPU, 80 * GB, offered, host_bytes=64 * GB).recompute is offered[0]


def test_only_what_the_engine_offers_is_chosen() -> None:
    free = needed(LLAMA_8B, ON_GPU, Recompute.LAYERS, ENOUGH_TOKENS)
    with pytest.raises(JobError):
        cheapest(LLAMA_8B, ON_GPU, free, offered=(Recompute.NONE,))


def test_the_operator_s_tokens_win() -> None:
    free = needed(LLAMA_8B, ON_GPU, Recompute.GATE_UP, 4096)
    assert cheapest(LLAMA_8B, ON_GPU, free, step_tokens=4096) == MemoryPlan(Recompute.GATE_UP, 4096)
    assert cheapest(LLAMA_8B, ON_GPU, GB, step_tokens=4096) == MemoryPlan(Recompute.LAYERS, 4096)


@pytest.mark.parametrize(
    ("adapter", "longest_row", "param", "advice"),
    [
        (LoraAdapter(r=16), 16_000, "training.max_length", "16,000 tokens: lower training.max_length"),
        (LoraAdapter(r=256), 512, "adapter.r", "Lower adapter.r"),
    ],
)
def test_what_fits_with_no_plan_is_refused_with_what_to_change(
    adapter: LoraAdapter, longest_row: int, param: str, advice: str
) -> None:
    load = Load.of(LLAMA_8B, [adapter], longest_row, device="gpu")
    with pytest.raises(JobError, match=re.escape(advice)) as refused:
        cheapest(LLAMA_8B, load, 4 * GB)
    assert (refused.value.code, refused.value.param) == ("out_of_memory", param)


def test_another_adapter_has_room_if_it_leaves_a_step_its_memory() -> None:
    free = 24 * GB
    memory_plan = cheapest(LLAMA_8B, ON_GPU, free)
    room = room_for_adapters(LLAMA_8B, ON_GPU, memory_plan, free)
    as_many = room // ON_GPU.state.total
    full = replace(ON_GPU, state=sum([ON_GPU.state] * (as_many - 1), ON_GPU.state))
    assert cheapest(LLAMA_8B, full, free).recompute is memory_plan.recompute
    assert full.state.total + ON_GPU.state.total > room > usable(free, "gpu") // 2


def test_what_is_computed_again_is_not_kept() -> None:
    steps = [memory(LLAMA_8B, ON_GPU, MemoryPlan(recompute, 2048)).step for recompute in Recompute]
    kept = [step.kept_by_layer[0] for step in steps]
    assert kept[0] - kept[1] >= 2048 * 2 * 14336 * 2
    assert kept[2] == steps[3].moving == 2048 * 4096 * 2
    assert kept[3] == 0
    assert [step.on_host for step in steps] == [0, 0, 0, 2 * 31 * kept[2]]


@pytest.mark.parametrize("module", ["model.layers.1.self_attn.q_proj", "model.layers.11.mlp.down_proj"])
@pytest.mark.parametrize("key", ["q_proj", "layers.1.self_attn.._proj", "1.self_attn.q_proj", "v_proj"])
def test_a_rank_pattern_means_what_it_means_in_peft(module: str, key: str) -> None:
    adapter = LoraAdapter(r=4, rank_pattern={key: 9})
    assert rank_of(module, adapter) == adapter.rank_pattern.get(get_pattern_key([key], module), 4)
