"""Rollouts repeat, end where the model ends them, and have the log-probabilities of the training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.jobs.spec import LoraAdapter
from tests.fixtures.engine.architectures import FAST, PORTABLE, TINY
from tests.fixtures.engine.logprobs import largest_gap, logprobs_in_training
from tests.fixtures.engine.methods import METHODS, move, spec_of
from tests.fixtures.engine.sampling import first_turns, prompts
from tests.fixtures.engine.training import make_spec
from tests.fixtures.models.tiny import save_model, text
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.requests import Grammar
from worker.engine.sampler.rollouts import Generation, Sampled, answer_seed, generate_rollouts
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

pytestmark = [pytest.mark.slow, pytest.mark.family(4)]

END, UNKNOWN = 2, 0  # special tokens of the tiny models
ASKED = Generation(count=3, max_tokens=12, seed=5)
# Of a fast path whose every part is computed in one order
TO_THE_BIT = [
    *("llama", "llama, biases everywhere", "mistral, sliding window", "qwen 2, biases"),
    *("qwen 2, windows in some layers", "phi 3, fused projections", "glm, neighbours rotated in part"),
    *("smollm 3, a layer without rotation", "phi 4 mini, heads rotated in part"),
    *("ernie 4.5, neighbours rotated", "ministral 3, queries scaled by position", "seed oss, biases"),
]
CLOSE = 1e-4  # nats, in fp32


def load(name: str, folder: Path, **changes: Any) -> ResidentBase:
    save_model((FAST | PORTABLE)[name](), folder)
    return ResidentBase(TINY.model_copy(update=changes), folder, "0" * 64, torch.device("cpu"))


def moved(base: ResidentBase, spec: Any = None, far: float = 0.1) -> Trainee:
    spec = spec or make_spec(adapter=LoraAdapter(r=5, lora_alpha=8, rank_pattern={"q_proj": 2}))
    trainee = Trainee(attach(base, "job", spec), spec, prompt_rows(2))
    move(trainee, far)
    return trainee


def prompt_rows(count: int, seed: int = 0) -> list[Row]:
    """Return prompts, of which some begin alike."""
    beginning = prompts(1, longest=50, seed=9)[0]
    tokens = [
        [*beginning, *prompt] if line % 2 else prompt for line, prompt in enumerate(prompts(count, seed=seed))
    ]
    return [
        Row(line, np.array(each, np.int32), np.zeros(len(each), np.bool_))
        for line, each in enumerate(tokens, 1)
    ]


def found_in(sampled: Sequence[Sampled]) -> list[tuple[list[int], list[float]]]:
    return [(each.tokens.tolist(), each.logprobs.tolist()) for each in sampled]


def test_each_prompt_has_its_answers_side_by_side(base: ResidentBase) -> None:
    rows = prompt_rows(4)
    sampled = generate_rollouts(base, moved(base).adapter, first_turns(rows, ASKED), 10_000)
    assert [each.line for each in sampled] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    for number, each in enumerate(sampled):
        assert each.prompt_L.tolist() == rows[number // 3].tokens_L.tolist()
        assert 0 < len(each.tokens) <= ASKED.max_tokens
        assert each.error is None
    assert len({tuple(each.tokens) for each in sampled}) == len(sampled), "each has draws of its own"


@pytest.mark.parametrize("max_tokens", [1, 200, 10_000])
def test_the_same_seed_gives_the_same_rollouts_however_many_are_computed_at_once(
    base: ResidentBase, max_tokens: int
) -> None:
    adapter, rows = moved(base).adapter, prompt_rows(4)
    expected = found_in(generate_rollouts(base, adapter, first_turns(rows, ASKED), 10_000))
    assert found_in(generate_rollouts(base, adapter, first_turns(rows, ASKED), max_tokens)) == expected
    alone = [
        each
        for row in rows
        for each in generate_rollouts(base, adapter, first_turns([row], ASKED), max_tokens)
    ]
    assert found_in(alone) == expected
    other = Generation(ASKED.count, ASKED.max_tokens, seed=6)
    assert found_in(generate_rollouts(base, adapter, first_turns(rows, other), max_tokens)) != expected


def test_each_line_and_number_has_a_seed_of_its_own() -> None:
    seeds = {answer_seed(seed, line, number) for seed in (1, 11) for line in (1, 11) for number in (1, 11)}
    assert len(seeds) == 8


@pytest.mark.parametrize("name", TO_THE_BIT)
@pytest.mark.parametrize("with_gradient", [True, False])
def test_in_fp32_the_training_has_the_bits_of_the_sampler(
    name: str, with_gradient: bool, tmp_path: Path
) -> None:
    base = load(name, tmp_path)
    modules = ["qkv_proj", "down_proj"] if "phi" in name else "all-linear"
    adapter = moved(base, make_spec(adapter=LoraAdapter(r=5, lora_alpha=8, target_modules=modules))).adapter
    sampled = generate_rollouts(base, adapter, first_turns(prompt_rows(6), ASKED), 300)
    for max_tokens in (40, 300, 10_000):
        trained = logprobs_in_training(base, adapter, sampled, max_tokens, with_gradient)
        assert [each.tolist() for each in trained] == [each.logprobs.tolist() for each in sampled]


@pytest.mark.parametrize("name", FAST | PORTABLE)
def test_in_fp32_every_architecture_has_nearly_the_log_probabilities_of_the_training(
    name: str, tmp_path: Path
) -> None:
    base = load(name, tmp_path)
    modules = ["qkv_proj"] if "phi" in name else "all-linear"
    adapter = moved(base, make_spec(adapter=LoraAdapter(r=4, target_modules=modules))).adapter
    sampled = generate_rollouts(base, adapter, first_turns(prompt_rows(3), ASKED), 10_000)
    assert largest_gap(sampled, logprobs_in_training(base, adapter, sampled, 10_000)) < CLOSE


@pytest.mark.parametrize("case", METHODS)
def test_every_method_has_nearly_the_log_probabilities_of_the_training(base: ResidentBase, case: str) -> None:
    adapter = moved(base, spec_of(case), 0.05).adapter
    sampled = generate_rollouts(base, adapter, first_turns(prompt_rows(3), ASKED), 10_000)
    assert largest_gap(sampled, logprobs_in_training(base, adapter, sampled, 10_000)) < CLOSE


def test_in_bf16_both_differ_by_rounding(tmp_path: Path) -> None:
    base = load("llama", tmp_path, dtype="bf16")
    adapter = moved(base).adapter
    sampled = generate_rollouts(base, adapter, first_turns(prompt_rows(6), ASKED), 10_000)
    assert 0 < largest_gap(sampled, logprobs_in_training(base, adapter, sampled, 10_000)) < 0.3


def test_an_answer_ends_with_the_token_that_ended_it(base: ResidentBase) -> None:
    long = Generation(count=8, max_tokens=60, seed=1)
    sampled = generate_rollouts(base, moved(base).adapter, first_turns(prompt_rows(6), long), 10_000)
    finished = [each for each in sampled if each.finished]
    assert 0 < len(finished) < len(sampled)
    for each in sampled:
        assert END not in each.tokens[:-1]
        assert (each.tokens[-1] == END) == each.finished
        assert each.finished or len(each.tokens) == 60
        assert each.text.split() == [f"<{token}>" for token in each.tokens if token not in (END, UNKNOWN)]


def test_answers_to_a_prompt_share_its_computation(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    step = RaggedDecoder.logits

    def counted(self: RaggedDecoder, chunks: Any, rows: Any) -> Any:
        computed.append(sum(chunk.stop - chunk.start for chunk in chunks))
        return step(self, chunks, rows)

    monkeypatch.setattr(RaggedDecoder, "logits", counted)
    prompt = np.arange(20, 20 + 96, dtype=np.int32)
    row = Row(1, prompt, np.zeros(96, np.bool_))
    generate_rollouts(base, moved(base).adapter, first_turns([row], Generation(8, 1, 0)), 10_000)
    assert sum(computed) <= 96 + 8 * 16, "all but the last block is computed once"


def test_a_grammar_bounds_the_answers_and_names_the_tokens_that_it_forced(tmp_path: Path) -> None:
    save_model(FAST["llama"](), tmp_path, text)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    adapter, row = moved(base).adapter, prompt_rows(1)[0]
    row = Row(1, row.tokens_L % 200, row.learnt_L)
    asked = Generation(4, 20, 3, Grammar("regex", "id: [0-9]{3}"))
    sampled = generate_rollouts(base, adapter, first_turns([row], asked), 10_000)
    for each in sampled:
        assert each.finished
        assert each.text[:4] == "id: "
        assert each.text[4:].isdigit()
        assert each.forced.tolist() == [True] * 4 + [False] * 3
    trained = logprobs_in_training(base, adapter, sampled, 10_000)
    assert largest_gap(sampled, trained) == 0, "they are the model's own, without the grammar"


def test_rollouts_are_abandoned_between_two_tokens(base: ResidentBase) -> None:
    asked: list[bool] = []

    def abandon() -> bool:
        asked.append(len(asked) == 3)
        return asked[-1]

    with pytest.raises(Abandoned):
        generate_rollouts(base, moved(base).adapter, first_turns(prompt_rows(2), ASKED), 10_000, abandon)
    assert asked == [False, False, False, True]


def test_a_prompt_without_room_for_an_answer_has_an_error_and_the_others_go_on(base: ResidentBase) -> None:
    length = base.entry.max_length
    too_long = Row(7, np.full(length, 20, np.int32), np.zeros(length, np.bool_))
    first, second = generate_rollouts(
        base, moved(base).adapter, first_turns([too_long, *prompt_rows(1)], Generation(1, 4, 0)), 10_000
    )
    assert (first.line, first.tokens.tolist(), first.finished) == (7, [], False)
    assert "shorten it" in str(first.error)
    assert second.error is None
    assert len(second.tokens) > 0


def test_numbers_that_are_not_finite_are_an_error_of_each_answer(base: ResidentBase) -> None:
    adapter = moved(base, far=float("inf")).adapter
    for each in generate_rollouts(base, adapter, first_turns(prompt_rows(1), ASKED), 10_000):
        assert not each.finished
        assert "not finite" in str(each.error)
