"""Adapters that are invoked (aLoRA) answer as PEFT's `generate`, and share what lies before that."""

from pathlib import Path

import pytest
import torch

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import PORTABLE, TINY
from tests.fixtures.engine.rows import INVOCATION, invoked_rows
from tests.fixtures.engine.sampling import ask, by_peft, prompts, run, saved_adapter, tokens
from tests.fixtures.engine.training import make_spec, make_trainee, randomize
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.answers import answer_span, generate_answers
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.sampler import Limits, Sampler

pytestmark = [pytest.mark.slow, pytest.mark.family(6)]

NEW = 8
INVOKED = LoraAdapter(r=4, lora_alpha=8, alora_invocation_tokens=list(INVOCATION))
LONG = [20 + place for place in range(2 * BLOCK + 5)]
PROMPTS = [
    [*LONG, *INVOCATION, 30, 31],
    [*LONG, *INVOCATION],
    [*INVOCATION, *LONG],
    [*INVOCATION, *LONG, *INVOCATION, 40],
    LONG,  # invokes nothing
    *prompts(2),
]


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize("step_tokens", [7, 512])
def test_answers_are_those_of_peft_s_generate(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path, step_tokens: int
) -> None:
    folder = saved_adapter(base, INVOKED, tmp_path / "invoked")
    plain = saved_adapter(base, LoraAdapter(r=3), tmp_path / "plain")
    sampler = Sampler(base, Limits(step_tokens=step_tokens))
    adapters = {"a": sampler.load_adapter(folder, "a"), "b": sampler.load_adapter(plain, "b"), "base": None}
    assert adapters["a"]
    assert adapters["a"].why_slow is None
    requests = [
        ask(f"{name} {number}", prompt, adapter, max_tokens=NEW)
        for number, prompt in enumerate(PROMPTS)
        for name, adapter in adapters.items()
    ]
    pieces = run(sampler, requests)
    folders = {"a": folder, "b": plain, "base": None}
    expected = {name: by_peft(tiny_folder, each, PROMPTS, NEW) for name, each in folders.items()}
    for name, answers in expected.items():
        assert [tokens(pieces[f"{name} {number}"]) for number in range(len(PROMPTS))] == answers, name
    assert expected["a"][:4] != expected["base"][:4]
    assert expected["a"][4:] == expected["base"][4:]


def test_answers_on_another_architecture_are_peft_s(tmp_path: Path) -> None:
    source = tmp_path / "base"
    save_model(PORTABLE["granite, scaled logits"](), source)
    base = ResidentBase(TINY, source, "0" * 64, torch.device("cpu"))
    folder = saved_adapter(base, INVOKED, tmp_path / "invoked", far=0.3)
    sampler = Sampler(base, Limits(step_tokens=7))
    adapter = sampler.load_adapter(folder, "a")
    pieces = run(sampler, [ask(f"{n}", prompt, adapter, max_tokens=NEW) for n, prompt in enumerate(PROMPTS)])
    expected = by_peft(source, folder, PROMPTS, NEW)
    assert [tokens(pieces[f"{n}"]) for n in range(len(PROMPTS))] == expected


def test_what_lies_before_the_invocation_is_shared_with_the_base_and_with_others(
    base: ResidentBase, tmp_path: Path
) -> None:
    sampler = Sampler(base)
    first, second = (
        sampler.load_adapter(saved_adapter(base, INVOKED, tmp_path / name), name) for name in ("a", "b")
    )
    asked = [*LONG, *INVOCATION, *range(100, 100 + 2 * BLOCK)]
    cached = [
        run(sampler, [ask(f"{number}", asked, adapter)])[f"{number}"][0].cached_tokens
        for number, adapter in enumerate([None, first, second, first, None])
    ]
    whole = (len(asked) - 1) // BLOCK * BLOCK
    before = len(LONG) // BLOCK * BLOCK
    assert cached == [0, before, before, whole, whole]


def test_a_later_invocation_of_the_same_tokens_is_another_beginning(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path
) -> None:
    """The keys and values of the first prompt have the adapter where the second one has it not yet."""
    folder = saved_adapter(base, INVOKED, tmp_path / "invoked")
    sampler = Sampler(base)
    adapter = sampler.load_adapter(folder, "a")
    early = [*INVOCATION, *LONG]
    late = [*early, *INVOCATION]
    for number, prompt in enumerate([early, late, early]):
        (answer,) = by_peft(tiny_folder, folder, [prompt], NEW)
        assert (
            tokens(run(sampler, [ask(f"{number}", prompt, adapter, max_tokens=NEW)])[f"{number}"]) == answer
        )


@pytest.mark.parametrize("portable", [False, True])
def test_answers_in_the_middle_of_a_training_are_peft_s(
    base: ResidentBase, tiny_folder: Path, tmp_path: Path, portable: bool
) -> None:
    source = tiny_folder
    if portable:
        source = tmp_path / "base"
        save_model(PORTABLE["granite, scaled logits"](), source)
        base = ResidentBase(TINY, source, "0" * 64, torch.device("cpu"))
    trainee = make_trainee(base, "job", make_spec(adapter=INVOKED), invoked_rows())
    randomize(trainee.adapter)
    trainee.adapter.save(tmp_path / "adapter")
    rows = [row for row in invoked_rows() if answer_span(row).start]
    asked = [row.tokens_L[: answer_span(row).start].tolist() for row in rows]
    expected = [
        str(base.tokenizer.decode(answer, skip_special_tokens=True)).strip()
        for answer in by_peft(source, tmp_path / "adapter", asked, NEW)
    ]
    assert [each.answer for each in generate_answers(base, trainee.adapter, rows, NEW, 10_000)] == expected
