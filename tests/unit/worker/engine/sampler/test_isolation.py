"""A request that cannot be computed ends alone: those beside it get the answers that they get without it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.methods import spec_of
from tests.fixtures.engine.sampling import ask, prompts, run, saved_adapter, tokens
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.fast.native.step import NativeStep
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.requests import GenerationRequest, Piece
from worker.engine.sampler.running import Chunk, Computed
from worker.engine.sampler.sampler import BROKEN, TOO_LITTLE_MEMORY, Sampler
from worker.engine.sampler.slow import SlowComputation

pytestmark = pytest.mark.slow

PROMPTS = prompts(6)


def others() -> list[GenerationRequest]:
    return [ask(f"{number}", prompt) for number, prompt in enumerate(PROMPTS)]


def check(base: ResidentBase, pieces: dict[str, list[Piece]], message: str) -> None:
    """Check that the request "bad" ended with the message, and that the others have their answers."""
    last = pieces.pop("bad")[-1]
    assert (last.finish_reason, last.token, last.error) == ("error", None, message)
    alone = run(Sampler(base), others())
    assert {name: tokens(found) for name, found in pieces.items()} == {
        name: tokens(found) for name, found in alone.items()
    }


def test_an_adapter_that_breaks_a_step_fails_its_own_request_alone(
    base: ResidentBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeStep, "for_pool", lambda *_: None)
    sampler = Sampler(base)
    broken = sampler.load_adapter(saved_adapter(base, LoraAdapter(r=4), tmp_path), "broken")
    for group in broken.factors.values():
        group.A_RK.data = group.A_RK[:, 1:].clone()
    requests = others()
    requests.insert(3, ask("bad", PROMPTS[0], broken))
    with capture_logs() as logs:
        pieces = run(sampler, requests)
    check(base, pieces, BROKEN)
    assert [(entry["event"], entry["request"]) for entry in logs] == [("request_broke", "bad")]
    assert sampler.idle
    assert sampler.load.pool_share == 0


def test_a_step_that_is_too_large_for_the_memory_is_computed_in_parts(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = RaggedDecoder.compute
    room = max(map(len, PROMPTS))

    def compute_in_little_memory(ragged: RaggedDecoder, chunks: Sequence[Chunk]) -> list[Computed]:
        if sum(chunk.stop - chunk.start for chunk in chunks) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(ragged, chunks)

    large = ask("bad", [20 + place % 200 for place in range(room + 1)])
    sampler = Sampler(base)
    with monkeypatch.context() as patch:
        patch.setattr(RaggedDecoder, "compute", compute_in_little_memory)
        pieces = run(sampler, [large, *others()])
    check(base, pieces, TOO_LITTLE_MEMORY)


def test_a_request_that_breaks_on_the_slow_path_ends_alone(
    base: ResidentBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(base, "job", spec_of("ia3")).save(tmp_path)
    forward = SlowComputation._forward

    def forward_in_little_memory(slow: SlowComputation, one: Any, *rest: Any) -> Any:
        if one.request.id == "bad":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(slow, one, *rest)

    monkeypatch.setattr(SlowComputation, "_forward", forward_in_little_memory)
    sampler = Sampler(base)
    slow = sampler.load_adapter(tmp_path, "slow")
    check(base, run(sampler, [ask("bad", PROMPTS[0], slow), *others()]), TOO_LITTLE_MEMORY)
    assert sampler.load.running == 0


@pytest.mark.parametrize("part", ["text", "chooser"])
def test_an_error_while_a_token_is_chosen_ends_that_answer_alone(base: ResidentBase, part: str) -> None:
    sampler = Sampler(base)
    for request in [*others(), ask("bad", PROMPTS[0], temperature=1.0)]:
        sampler.submit(request)
    setattr(sampler._requests["bad"], part, None)
    check(base, run(sampler), BROKEN)


def test_a_step_that_fails_for_each_of_several_requests_raises_its_error(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_: Any) -> Any:
        raise ValueError("the model is damaged")

    monkeypatch.setattr(RaggedDecoder, "compute", compute)
    assert run(Sampler(base), [ask("bad", PROMPTS[0])])["bad"][-1].error == BROKEN
    sampler = Sampler(base)
    for request in others():
        sampler.submit(request)
    with pytest.raises(ValueError, match="the model is damaged"):
        sampler.step()


def test_an_error_of_the_device_itself_is_raised(base: ResidentBase, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(RaggedDecoder, "compute", compute)
    sampler = Sampler(base)
    sampler.submit(ask("a", PROMPTS[0]))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        sampler.step()
