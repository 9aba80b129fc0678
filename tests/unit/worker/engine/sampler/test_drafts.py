"""Drafts change the time that an answer takes, and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import PORTABLE, TINY
from tests.fixtures.engine.sampling import ask, prompts, run, saved_adapter, text, tokens
from tests.fixtures.models.tiny import save_model, tiny_llama
from tests.fixtures.models.tiny import text as text_tokenizer
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.chooser import Chooser
from worker.engine.sampler.draft import LONGEST_DRAFT, Lookup
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.drafting import drafted
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.requests import GenerationRequest, Grammar, Piece, TokenChoice
from worker.engine.sampler.running import Chunk, Running
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.sampler.texts import GrowingText

pytestmark = pytest.mark.slow

WITHOUT = Limits(drafts=False)
PROMPTS = prompts(4, longest=40, seed=3)
NEW = 40
SCHEMA = {"type": "array", "items": {"enum": ["small", "large"]}, "minItems": 8, "maxItems": 8}


def stepped(sampler: Sampler, requests: Sequence[GenerationRequest]) -> tuple[dict[str, list[Piece]], int]:
    """Return the pieces of each request, and the number of steps."""
    for request in requests:
        sampler.submit(request)
    found: dict[str, list[Piece]] = {request.id: [] for request in requests}
    steps = 0
    while not sampler.idle:
        steps += 1
        for piece in sampler.step():
            found[piece.request_id].append(piece)
    return found, steps


def predicting(request: GenerationRequest, answer: Sequence[int], wrong_every: int = 7) -> GenerationRequest:
    """Return the request with a prediction of its answer in which some tokens are wrong."""
    predicted = [10 if n % wrong_every == wrong_every - 1 else token for n, token in enumerate(answer)]
    return replace(request, prediction=predicted)


def assert_alike(found: Sequence[Piece], expected: Sequence[Piece]) -> None:
    """Compare all that a client sees. Rounding may differ with the number of tokens of a step."""
    unlike = {"chosen": None, "prompt_logprobs": None, "drafted": None}
    plain = [[replace(piece, **unlike) for piece in pieces] for pieces in (found, expected)]
    assert plain[0] == plain[1]
    for one, other in zip(choices(found), choices(expected), strict=True):
        assert (one.token, [token for token, _ in one.top]) == (
            other.token,
            [token for token, _ in other.top],
        )
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def choices(pieces: Sequence[Piece]) -> list[TokenChoice]:
    found = [choice for piece in pieces for choice in (*(piece.prompt_logprobs or ()), piece.chosen)]
    return [choice for choice in found if choice is not None]


@pytest.mark.usefixtures("each_step")
@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 0.8, "logprobs": True, "top_logprobs": 2, "prompt_logprobs": 1},
        {"temperature": 1.3, "top_p": 0.9, "top_k": 40, "min_p": 0.01, "min_tokens": 20},
        {
            "presence_penalty": 0.5,
            "frequency_penalty": 0.5,
            "repetition_penalty": 1.2,
            "logit_bias": {30: 1.5},
        },
    ],
    ids=["greedy", "sampled, log-probabilities", "sampled from few", "penalties"],
)
def test_answers_are_those_without_drafts_in_fewer_steps(
    base: ResidentBase, tmp_path: Path, sampling: dict[str, Any]
) -> None:
    folders = [saved_adapter(base, LoraAdapter(r=4), tmp_path / name) for name in "ab"]
    adapters = [None, *(Sampler(base).load_adapter(folder, folder.name) for folder in folders)]
    requests = [
        ask(f"{n} {m}", prompt, adapter, max_tokens=NEW, seed=n, **sampling)
        for n, prompt in enumerate(PROMPTS)
        for m, adapter in enumerate(adapters)
    ]
    few = requests[:3]
    for asked in (few, requests):
        expected, steps = stepped(Sampler(base, WITHOUT), asked)
        predicted = [predicting(each, tokens(expected[each.id])) for each in asked]
        found, fewer = stepped(Sampler(base), predicted)
        for name, pieces in found.items():
            assert_alike(pieces, expected[name])
        drafted = [piece.drafted for pieces in found.values() for piece in pieces if piece.drafted]
        assert sum(each.accepted for each in drafted) > 0
        assert sum(each.rejected for each in drafted) > 0
        assert fewer < steps


def test_an_answer_ends_within_a_draft_where_it_ends_without(base: ResidentBase) -> None:
    def answers(limits: Limits, **sampling: Any) -> list[Piece]:
        request = ask("a", PROMPTS[0], ignore_eos=True, **{"max_tokens": NEW, **sampling})
        return run(Sampler(base, limits), [replace(request, prediction=whole)])["a"]

    whole: list[int] = []
    whole = tokens(answers(WITHOUT))
    words = [f"<{token}>" for token in whole]
    for sampling in (
        {"max_tokens": 5},
        {"stop_tokens": frozenset([whole[4]])},
        {"stop": (words[3],), "min_tokens": 2},
    ):
        found = answers(Limits(), **sampling)
        assert_alike(found, answers(WITHOUT, **sampling))
        assert any(piece.drafted and piece.drafted.is_predicted for piece in found)
        assert len(found) < NEW


def test_structured_answers_are_those_without_drafts(tmp_path: Path) -> None:
    save_model(tiny_llama(), tmp_path, text_tokenizer)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    request = ask(
        "a", [5, 6], None, Grammar("json_schema", json.dumps(SCHEMA)), temperature=1.5, seed=4, max_tokens=300
    )
    (expected, steps), (found, fewer) = (
        stepped(Sampler(base, each), [request]) for each in (WITHOUT, Limits())
    )
    assert_alike(found["a"], expected["a"])
    assert len(json.loads(text(found["a"]))) == 8
    assert fewer < steps


def test_rejected_tokens_are_in_no_block_that_others_find(base: ResidentBase) -> None:
    prompt = PROMPTS[0]
    answer = tokens(run(Sampler(base, WITHOUT), [ask("a", prompt, max_tokens=NEW, ignore_eos=True)])["a"])
    for wrong_every in range(2, 6):
        sampler = Sampler(base)
        request = ask("a", prompt, max_tokens=NEW, ignore_eos=True)
        run(sampler, [predicting(request, answer, wrong_every)])
        assert sampler.load.pool_share == 0
        behind = [*prompt, *answer, 40]
        found = run(sampler, [ask("b", behind, max_tokens=8)])["b"]
        assert found[0].cached_tokens == (len(behind) - 2) // BLOCK * BLOCK
        assert tokens(found) == tokens(run(Sampler(base, WITHOUT), [ask("b", behind, max_tokens=8)])["b"])


def test_a_request_that_is_cancelled_behind_a_draft_leaves_nothing(base: ResidentBase) -> None:
    sampler = Sampler(base)
    request = ask("a", PROMPTS[0], max_tokens=NEW, ignore_eos=True)
    answer = tokens(run(Sampler(base, WITHOUT), [request])["a"])
    sampler.submit(predicting(request, answer))
    assert any(piece.drafted for piece in sampler.step())
    sampler.cancel("a")
    assert sampler.idle
    assert sampler.load.pool_share == 0


def made_at_first(base: ResidentBase, length: int, **limits: int) -> int:
    """Return how many tokens the first step makes behind a prompt of this length, if all are predicted."""
    request = ask("a", range(20, 20 + length), max_tokens=NEW, ignore_eos=True)
    answer = tokens(run(Sampler(base, WITHOUT), [request])["a"])
    sampler = Sampler(base, Limits(**limits))
    sampler.submit(replace(request, prediction=answer))
    return len(sampler.step())


@pytest.mark.parametrize(("tokens", "most"), [(37, 3), (40, 0), (41, 8)])
def test_a_draft_makes_no_chunk_longer_than_one_kernel_computes(
    base: ResidentBase, tokens: int, most: int
) -> None:
    request = replace(ask("a", range(20, 20 + tokens), max_tokens=NEW), prediction=range(60, 60 + NEW))
    chooser = Chooser(request.sampling, request.prompt, frozenset(), None)
    text = GrowingText(base.tokenizer, ())
    chunk = Chunk(Running(request, tokens + NEW, chooser, text, list(request.prompt)), 0, tokens)
    (found,) = drafted([chunk], 8, 1000, {request.project: 8}, 8, longest_in_c=40)
    assert len(found) == most


def test_drafts_take_what_prompts_leave_of_a_step(base: ResidentBase) -> None:
    assert made_at_first(base, 8, step_tokens=10) == 1 + 2


def test_a_draft_takes_no_block_that_another_answer_needs_next(base: ResidentBase) -> None:
    limits = Limits(cache_bytes=3 * RaggedDecoder.block_bytes(base.decoder))
    sampler = Sampler(base, limits)
    wrong = ask("wrong", range(20, 18 + BLOCK), max_tokens=30, ignore_eos=True)
    sampler.submit(replace(wrong, prediction=[10] * 8))
    sampler.submit(ask("next", range(60, 60 + BLOCK), max_tokens=30, ignore_eos=True))
    assert any(piece.drafted for piece in sampler.step())
    sampler.step()
    assert (sampler.load.running, sampler.load.waiting) == (2, 0)


@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_answers_are_those_without_drafts_where_projects_take_blocks_from_each_other(
    tmp_path: Path, quantization: str | None
) -> None:
    save_model(tiny_llama(), tmp_path, text_tokenizer)
    entry = TINY.model_copy(update={"quantization": quantization})
    base = ResidentBase(entry, tmp_path, "0" * 64, torch.device("cpu"))
    requests = [
        ask(name, range(start, start + 10), project=name, max_tokens=NEW, ignore_eos=True)
        for name, start in (("a", 20), ("b", 60))
    ]
    expected = run(Sampler(base, WITHOUT), requests)
    sampler = Sampler(base, Limits(cache_bytes=5 * RaggedDecoder.block_bytes(base.decoder)))
    for request in requests:
        sampler.submit(predicting(request, tokens(expected[request.id])))
    found: dict[str, list[Piece]] = {"a": [], "b": []}
    gave_way = False
    while not sampler.idle:
        for piece in sampler.step():
            found[piece.request_id].append(piece)
        gave_way |= sampler.load.waiting > 0 and all(found.values())
    assert gave_way
    for name, pieces in found.items():
        assert_alike(pieces, expected[name])
        assert any(piece.drafted and piece.drafted.accepted for piece in pieces)


@pytest.mark.parametrize(
    ("name", "drafts"),
    [
        ("exaone 4, rotation only within windows", True),
        ("gemma 4, experts beside the MLP", False),
        ("lfm 2, short convolutions", False),
        ("qwen 3.5, delta rule", False),
    ],
)
def test_models_that_cannot_take_a_token_back_cheaply_have_no_drafts(
    name: str, drafts: bool, tmp_path: Path
) -> None:
    save_model(PORTABLE[name](), tmp_path)
    base = ResidentBase(TINY, tmp_path, "0" * 64, torch.device("cpu"))
    request = ask("a", PROMPTS[0], max_tokens=9, ignore_eos=True)
    expected, _ = stepped(Sampler(base, WITHOUT), [request])
    found, _ = stepped(Sampler(base), [replace(request, prediction=tokens(expected["a"]))])
    assert_alike(found["a"], expected["a"])
    assert any(piece.drafted for piece in found["a"]) == drafts


def test_a_guess_follows_the_latest_of_the_longest_matches() -> None:
    lookup = Lookup([1, 2, 3, 4, 9, 2, 3, 5, 8, 1, 2, 3], ())
    assert [token for token, _ in lookup.guess()][:3] == [4, 9, 2]
    lookup.add(5)
    assert [token for token, _ in lookup.guess()][:2] == [8, 1]
    chances = [chance for _, chance in lookup.guess()]
    assert chances == sorted(chances, reverse=True)
    assert len(chances) == LONGEST_DRAFT


def test_a_guess_goes_on_in_the_prediction_behind_what_was_wrong() -> None:
    lookup = Lookup([1, 2], [7, 8, 9, 7, 6, 5])
    guesses = []
    for token in (7, 8, 4, 9, 7, 6):
        guesses.append([guess for guess, _ in lookup.guess()][:1])
        lookup.add(token)
    assert guesses == [[7], [8], [9], [], [7], [6]]


def test_a_guess_goes_back_in_the_prediction_where_the_answer_does() -> None:
    lookup = Lookup([1, 2], [11, 12, 13, 14, 15, 16])
    guesses = []
    for token in (15, 11, 12, 13):
        lookup.add(token)
        guesses.append([guess for guess, _ in lookup.guess()][:1])
    assert guesses == [[16], [12], [13], [14]]


def test_wrong_guesses_make_the_next_ones_less_likely() -> None:
    lookup = Lookup([1, 2] * 20, ())
    before = [chance for _, chance in lookup.guess()]
    for token in range(3, 40):
        lookup.add(token)
        lookup.add(1)
        next(lookup.guess(), None)
    lookup.add(2)
    assert next(lookup.guess())[1] < before[0]
