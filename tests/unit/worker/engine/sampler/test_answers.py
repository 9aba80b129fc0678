"""Answers in the middle of a training equal its own computation, and do not change it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.jobs.spec import LoraAdapter
from core.methods.low_rank import AdaLoraAdapter, LowRankAdapter
from core.methods.whole import FullTuning
from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE, TINY
from tests.fixtures.engine.methods import METHODS, move, spec_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.sampling import ask, prompts, run
from tests.fixtures.engine.training import MAX_TOKENS, make_spec, train
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.engine.decoders.head import capped_logits
from worker.engine.sampler import answers as module
from worker.engine.sampler.answers import answer_span, generate_answers
from worker.engine.sampler.sampler import Sampler
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

NEW = 6
END = 2  # the end token of the tiny models
LOW_RANK: dict[str, LowRankAdapter] = {
    "lora": LoraAdapter(r=4, lora_alpha=8, rank_pattern={"q_proj": 2}, alpha_pattern={"up_proj": 3}),
    "lora of some": LoraAdapter(r=4, target_modules=["v_proj", "down_proj"], lora_dropout=0.5),
    "dora": LoraAdapter(r=4, use_dora=True),
    "pissa": LoraAdapter(r=4, init_lora_weights="pissa"),
    "dylora": LoraAdapter(r=4, dynamic_rank=True),
    "adalora": AdaLoraAdapter(init_r=5, target_r=2, lora_alpha=8),
}


def load(name: str, folder: Path, **changes: Any) -> ResidentBase:
    save_model((FAST | PORTABLE | PLAIN)[name](), folder)
    return ResidentBase(TINY.model_copy(update=changes), folder, "0" * 64, torch.device("cpu"))


def moved(base: ResidentBase, spec: Any, far: float = 0.1) -> Trainee:
    rows = make_rows(12, 0)
    trainee = Trainee(attach(base, "job", spec), spec, rows)
    move(trainee, far)
    trainee.adapter.parameters.refresh()
    return trainee


@torch.no_grad()
def without_cache(base: ResidentBase, adapter: Adapter, row: Row) -> str:
    """The slow twin: compute the whole row again for each token, as in training."""
    tokens = row.tokens_L[: answer_span(row).start].tolist()
    made: list[int] = []
    while len(made) < NEW:
        next_L = np.asarray([*tokens, *made, 0], dtype=np.int32)
        asked = Row(1, next_L, np.arange(len(next_L)) == len(next_L) - 1)
        (batch,) = pack([JobRows(adapter.name, [asked], 1.0)], len(next_L), base.device)
        hidden_SD = adapter.decoder.hidden(batch, {adapter.name: adapter.low_ranks()})
        logits_SV = capped_logits(hidden_SD, adapter.decoder.head_weight, adapter.decoder.softcap)
        token = int(logits_SV[-1].argmax())
        if token == END:
            break
        made.append(token)
    return str(base.tokenizer.decode(made, skip_special_tokens=True)).strip()


def texts(base: ResidentBase, adapter: Adapter, rows: Sequence[Row], max_tokens: int = 10_000) -> list[str]:
    return [each.answer for each in generate_answers(base, adapter, rows, NEW, max_tokens)]


def check(base: ResidentBase, trainee: Trainee) -> None:
    rows = make_rows(5, 1)
    expected = [without_cache(base, trainee.adapter, row) for row in rows]
    assert texts(base, trainee.adapter, rows) == expected
    assert texts(base, trainee.adapter, rows, max_tokens=1) == expected, "one by one"


@pytest.mark.parametrize("adapter", LOW_RANK.values(), ids=LOW_RANK)
def test_answers_are_those_of_the_computation_in_training(
    base: ResidentBase, adapter: LowRankAdapter
) -> None:
    check(base, moved(base, make_spec(adapter=adapter)))


@pytest.mark.parametrize("name", PORTABLE | PLAIN)
def test_answers_follow_every_architecture(name: str, tmp_path: Path) -> None:
    base = load(name, tmp_path)
    modules = ["qkv_proj"] if "phi" in name else "all-linear"
    check(base, moved(base, make_spec(adapter=LoraAdapter(r=4, target_modules=modules))))


@pytest.mark.parametrize("name", ["gemma 4, experts beside the MLP", "lfm 2 moe"])
def test_answers_on_the_portable_path_share_steps(name: str, tmp_path: Path) -> None:
    base, rows, asked = load(name, tmp_path), make_rows(5, 1), []

    def abandon() -> bool:
        asked.append("before a step")
        return False

    generate_answers(base, moved(base, make_spec()).adapter, rows, NEW, 10_000, abandon)
    assert len(asked) <= NEW + 3  # the prompts may take a step more than one


@pytest.mark.parametrize("case", METHODS)
def test_answers_are_those_of_every_method(base: ResidentBase, case: str) -> None:
    check(base, moved(base, spec_of(case), 0.05))


@pytest.mark.parametrize("name", ["llama", "qwen 2, biases", "lfm 2, short convolutions"])
def test_answers_are_those_of_a_whole_model(name: str, tmp_path: Path) -> None:
    base = load(name, tmp_path)
    check(base, moved(base, make_spec(adapter=FullTuning())))


def test_answers_are_those_of_a_quantised_base(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    base = load("llama", tmp_path, quantization="nf4")
    check(base, moved(base, make_spec()))


def test_an_adapter_changes_the_answers(base: ResidentBase) -> None:
    rows = make_rows(5, 1)
    trainee = moved(base, make_spec())
    before = texts(base, attach(base, "fresh", make_spec()), rows)
    assert texts(base, trainee.adapter, rows) != before
    assert texts(base, attach(base, "fresh again", make_spec()), rows) == before


@pytest.mark.parametrize("adapter", ["lora", "dora", "dylora", "ia3", "full"])
@pytest.mark.parametrize("name", ["llama", "qwen 2, biases"])
def test_training_with_samples_is_training_without_to_the_bit(
    name: str, adapter: str, tmp_path: Path
) -> None:
    base = load(name, tmp_path)
    spec = spec_of("ia3") if adapter == "ia3" else make_spec(adapter=LOW_RANK.get(adapter, FullTuning()))
    undisturbed, sampled = (Trainee(attach(base, each, spec), spec, make_rows(12, 0)) for each in ("a", "b"))
    losses = train(base, [undisturbed], 4)["a"]
    found = []
    for _ in range(4):
        found += train(base, [sampled], 1)["b"]
        before = state_of(base, sampled)
        generate_answers(base, sampled.adapter, make_rows(3, 1), NEW, MAX_TOKENS)
        assert state_of(base, sampled) == before
    assert found == losses
    assert torch.equal(sampled.adapter.parameters.master, undisturbed.adapter.parameters.master)


def state_of(base: ResidentBase, trainee: Trainee) -> Any:
    """Return everything, beside the parameters, that a generation could change."""
    models = base.model, trainee.adapter.plain_model
    modes = [(name, each.training) for model in models for name, each in model.named_modules()]
    attention = [model.config._attn_implementation for model in models]
    replaced = [name for name, each in base.model.named_modules() if "forward" in vars(each)]
    return modes, attention, replaced, torch.get_rng_state().tolist()


def test_a_generation_is_abandoned_between_two_tokens(base: ResidentBase) -> None:
    trainee = moved(base, make_spec())
    asked: list[bool] = []

    def abandon() -> bool:
        asked.append(len(asked) == 3)
        return asked[-1]

    before = state_of(base, trainee)
    with pytest.raises(Abandoned):
        generate_answers(base, trainee.adapter, make_rows(2, 1), 100, MAX_TOKENS, abandon)
    assert asked == [False, False, False, True]
    assert state_of(base, trainee) == before


@pytest.mark.parametrize("name", ["gpt-oss, sinks and experts", "lfm 2, short convolutions"])
def test_a_chat_between_two_tokens_of_an_answer_sees_nothing_of_the_adapter(
    name: str, tmp_path: Path
) -> None:
    base = load(name, tmp_path)
    trainee = moved(base, make_spec(adapter=LoraAdapter(r=4, target_modules=["q_proj", "v_proj"])))
    sampler = Sampler(base)

    def chat() -> Any:
        return run(sampler, [ask("chat", prompts(1)[0], logprobs=True)])["chat"]

    chat()  # leaves its beginning in the cache for all others
    before, beside, rows = chat(), [], make_rows(2, 1)
    undisturbed = texts(base, trainee.adapter, rows)

    def let_others_compute() -> bool:
        beside.append(chat())
        return False

    answers = generate_answers(base, trainee.adapter, rows, NEW, MAX_TOKENS, let_others_compute)
    assert len(beside) > 1
    assert all(pieces == before for pieces in beside)
    assert [each.answer for each in answers] == undisturbed


def test_the_prompt_is_the_text_before_the_last_answer(base: ResidentBase) -> None:
    learnt = np.isin(np.arange(9), [2, 3, 6, 7])
    turns = Row(4, np.arange(10, 19, dtype=np.int32), learnt)
    undesirable = Row(5, np.arange(10, 19, dtype=np.int32), learnt, desirable=False)
    assert answer_span(turns) == slice(6, 8)
    first, second = generate_answers(
        base, moved(base, make_spec()).adapter, [turns, undesirable], 3, MAX_TOKENS
    )
    assert (first.line, first.prompt, first.expected) == (4, "<10> <11> <12> <13> <14> <15>", "<16> <17>")
    assert len(first.answer.split()) <= 3
    assert second.expected is None


def test_an_answer_ends_where_the_model_or_the_rows_end_it(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = moved(base, make_spec())
    (row,) = make_rows(1, 1)
    (whole,) = generate_answers(base, trainee.adapter, [row], NEW, MAX_TOKENS)
    assert not whole.finished
    first = int(whole.answer.split()[0].strip("<>"))
    monkeypatch.setattr(module, "_learnt_ends", lambda *_: frozenset([first]))
    (ended,) = generate_answers(base, trainee.adapter, [row], NEW, MAX_TOKENS)
    assert (ended.answer, ended.finished) == ("", True)


def test_an_answer_whose_numbers_are_not_finite_says_so(base: ResidentBase) -> None:
    trainee = moved(base, make_spec())
    (row,) = make_rows(1, 1)
    (whole,) = generate_answers(base, trainee.adapter, [row], NEW, MAX_TOKENS)
    assert whole.error is None
    move(trainee, float("inf"))
    (found,) = generate_answers(base, trainee.adapter, [row], NEW, MAX_TOKENS)
    assert (found.answer, found.finished) == ("", False)
    assert "not finite" in str(found.error)


def test_a_prompt_near_the_longest_length_is_answered_as_far_as_there_is_room(base: ResidentBase) -> None:
    length = base.entry.max_length
    row = Row(1, np.arange(length, dtype=np.int32) % 300, np.arange(length) >= length - 2)
    (found,) = generate_answers(base, moved(base, make_spec()).adapter, [row], NEW, MAX_TOKENS)
    assert len(found.answer.split()) <= 2
