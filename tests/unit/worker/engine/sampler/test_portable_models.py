"""Base models on the portable path answer many requests in one step, in transformers' modules."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import EXPERTS_PACKED, PORTABLE, STATES, TINY
from tests.fixtures.engine.sampling import (
    ask,
    assert_answers_are_peft_s,
    by_peft,
    prompts,
    run,
    saved_adapter,
    tokens,
)
from tests.fixtures.engine.wrappers import PORTABLE_WRAPPERS
from tests.fixtures.models.tiny import save_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.served import GroupFactors, PackedProjection, ServedAdapter
from worker.engine.sampler.requests import Piece
from worker.engine.sampler.sampler import BROKEN, Limits, Sampler

pytestmark = [pytest.mark.slow, pytest.mark.family(3)]

ARCHITECTURES = (
    {name: PORTABLE[name] for name in ("gpt-oss, sinks and experts", "qwen 3 moe")}
    | EXPERTS_PACKED
    | STATES
    | PORTABLE_WRAPPERS
)
ATTENTION = LoraAdapter(r=4, target_modules=["q_proj", "k_proj", "v_proj"])
PROMPTS = prompts(6)
NEW = 12


def base_of(name: str, folder: Path) -> ResidentBase:
    save_model(ARCHITECTURES[name](), folder)
    return ResidentBase(TINY, folder, "0" * 64, torch.device("cpu"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_and_log_probabilities_are_those_of_transformers_and_peft(name: str, tmp_path: Path) -> None:
    source = tmp_path / "base"
    base = base_of(name, source)
    folder = saved_adapter(base, LoraAdapter(r=4), tmp_path / "adapter")
    sampler = Sampler(base, Limits(step_tokens=9))
    assert sampler.why_slow is None
    assert_answers_are_peft_s(sampler, None, source, None)
    assert_answers_are_peft_s(sampler, sampler.load_adapter(folder, "a"), source, folder)


@pytest.mark.parametrize("name", STATES)
def test_requests_with_different_adapters_share_steps_and_give_way(name: str, tmp_path: Path) -> None:
    """A request that has lost its place to another project's computes its states again."""
    base = base_of(name, tmp_path / "base")
    folders = [saved_adapter(base, ATTENTION, tmp_path / f"adapter-{n}") for n in range(2)]
    sampler = Sampler(base, Limits(cache_bytes=64 << 20, step_tokens=9, max_running=3))
    adapters = [None, *(sampler.load_adapter(folder, folder.name) for folder in folders)]
    assert [adapter.why_slow for adapter in adapters if adapter] == [None, None]
    requests = [
        ask(f"{n}", prompt, adapters[n % 3], project="late" if n > 3 else "early", max_tokens=NEW)
        for n, prompt in enumerate(PROMPTS)
    ]
    for request in requests[:4]:
        sampler.submit(request)
    pieces: dict[str, list[Piece]] = {}
    while sampler.load.running < 3:
        keep(sampler.step(), pieces)
    for found in run(sampler, requests[4:]).values():
        keep(found, pieces)
    for n, folder in enumerate([None, *folders]):
        expected = by_peft(tmp_path / "base", folder, PROMPTS[n::3], NEW)
        assert [tokens(pieces[f"{number}"]) for number in range(n, len(PROMPTS), 3)] == expected
    assert sampler.load.pool_share == 0


def keep(some: Iterable[Piece], pieces: dict[str, list[Piece]]) -> None:
    for piece in some:
        pieces.setdefault(piece.request_id, []).append(piece)


def test_a_prompt_goes_on_where_the_states_behind_its_beginning_are_kept(tmp_path: Path) -> None:
    """The next turn of a chat, and the third prompt behind the same beginning."""
    base = base_of("qwen 3.5, delta rule", tmp_path / "base")
    sampler = Sampler(base, Limits(step_tokens=9))
    first, own = list(range(20, 70)), [[100 + n] * 20 for n in range(3)]
    answer = tokens(run(sampler, [ask("first", first, max_tokens=NEW)])["first"])
    behind_one_another = [*first, *answer, 99, 98], *([*first[:40], *each] for each in own)
    cached = []
    for n, prompt in enumerate(behind_one_another):
        pieces = run(sampler, [ask(f"{n}", prompt, max_tokens=NEW)])[f"{n}"]
        assert tokens(pieces) == by_peft(tmp_path / "base", None, [prompt], NEW)[0]
        cached.append(pieces[0].cached_tokens)
    assert cached == [48, 0, 32, 32]


def test_a_request_that_breaks_a_step_leaves_the_states_of_the_others_as_they_were(tmp_path: Path) -> None:
    """Its adapter fits no layer, and breaks the step behind the first layers' states."""
    base = base_of("qwen 3.5, delta rule", tmp_path / "base")
    factors = GroupFactors(torch.zeros(2, 7), [PackedProjection(slice(0, 7), slice(0, 2), torch.zeros(2, 7))])
    bad = ServedAdapter("bad", 0, factors={[*base.decoder.groups][-1]: factors})
    sampler = Sampler(base, Limits(step_tokens=30))
    requests = [ask(f"{n}", prompt, max_tokens=NEW) for n, prompt in enumerate(PROMPTS[:3])]
    pieces = run(sampler, [*requests, ask("bad", PROMPTS[3][:20], bad)])
    assert pieces["bad"][-1].error == BROKEN
    expected = by_peft(tmp_path / "base", None, PROMPTS[:3], NEW)
    assert [tokens(pieces[request.id]) for request in requests] == expected
