"""The sampler's answers are those of transformers and PEFT, whoever is computed beside them."""

import math
from itertools import count
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.methods.low_rank import LoraAdapter, LowRankAdapter
from tests.fixtures.engine.methods import spec_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.sampling import ask, by_peft, prompts, run, saved_adapter, text, tokens
from tests.fixtures.engine.training import make_spec, train
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.ragged import RaggedDecoder
from worker.engine.sampler.requests import GenerationRequest, RequestRefused
from worker.engine.sampler.sampler import Limits, Sampler
from worker.engine.step.trainee import Trainee

pytestmark = pytest.mark.slow

NEW = 12
OPTIONS: dict[str, LowRankAdapter] = {
    "lora": LoraAdapter(r=4, lora_alpha=8, rank_pattern={"q_proj": 2}, alpha_pattern={"up_proj": 3}),
    "stabilised": LoraAdapter(r=6, lora_alpha=4, use_rslora=True, target_modules=["v_proj", "down_proj"]),
    "dora": LoraAdapter(r=3, use_dora=True),
    "pissa": LoraAdapter(r=4, init_lora_weights="pissa"),
}
ALIKE = [[*range(40, 75), *end] for end in prompts(2, longest=20, seed=5)]
PROMPTS = [*prompts(4), *ALIKE]


@pytest.fixture(scope="module")
def folders(loaded: list[ResidentBase], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: saved_adapter(loaded[0], each, folder / name) for name, each in OPTIONS.items()}


@pytest.fixture(scope="module")
def expected(tiny_folder: Path, folders: dict[str, Path]) -> dict[str, list[list[int]]]:
    """The answers of transformers and PEFT to each prompt, by adapter."""
    named: dict[str, Path | None] = {"base": None, **folders}
    return {name: by_peft(tiny_folder, folder, PROMPTS, NEW) for name, folder in named.items()}


def adapters(sampler: Sampler, folders: dict[str, Path]) -> dict[str, ServedAdapter | None]:
    return {"base": None} | {name: sampler.load_adapter(folder, name) for name, folder in folders.items()}


def pool_of(base: ResidentBase, tokens: int, **limits: int) -> Limits:
    """Return limits with a pool for so many tokens."""
    return Limits(cache_bytes=tokens // BLOCK * RaggedDecoder.block_bytes(base.decoder), **limits)


@pytest.mark.usefixtures("each_step")
def test_answers_of_many_adapters_in_one_batch_are_peft_s(
    base: ResidentBase, folders: dict[str, Path], expected: dict[str, list[list[int]]]
) -> None:
    sampler = Sampler(base)
    requests = [
        ask(f"{name} {number}", prompt, adapter, max_tokens=NEW)
        for name, adapter in adapters(sampler, folders).items()
        for number, prompt in enumerate(PROMPTS)
    ]
    assert not any(request.adapter and request.adapter.why_slow for request in requests)
    pieces = run(sampler, requests)
    for name, answers in expected.items():
        assert [tokens(pieces[f"{name} {number}"]) for number in range(len(PROMPTS))] == answers, name
    assert sampler.load.pool_share == 0


@pytest.mark.usefixtures("each_step")
def test_answers_stay_the_same_while_requests_come_and_go_and_lose_their_blocks(
    base: ResidentBase, folders: dict[str, Path], expected: dict[str, list[list[int]]]
) -> None:
    sampler = Sampler(base, pool_of(base, 128, step_tokens=21, max_running=8))
    queue = [
        (
            ask(f"{name} {number} {turn}", PROMPTS[number], adapter, max_tokens=NEW, project=str(number % 3)),
            expected[name][number],
        )
        for turn in range(2)
        for name, adapter in adapters(sampler, folders).items()
        for number in range(len(PROMPTS))
    ]
    answers: dict[str, list[int]] = {request.id: [] for request, _ in queue}
    cached = 0
    for step in count():
        for request, _ in queue[3 * step : 3 * step + 3]:
            sampler.submit(request)
        if sampler.idle:
            break
        for piece in sampler.step():
            answers[piece.request_id].append(piece.token)
            cached += piece.cached_tokens
        assert sampler.load.running <= 8
        assert sampler._fast.pool.held <= sampler._fast.pool.size == 128 // BLOCK
    assert answers == {request.id: answer for request, answer in queue}
    assert sampler._fast.schedule.preemptions > 0
    assert cached > 0
    assert sampler._fast.pool.available == sampler._fast.pool.size


def test_answers_and_a_training_on_the_same_base_do_not_change_each_other(
    base: ResidentBase, tiny_folder: Path, folders: dict[str, Path], expected: dict[str, list[list[int]]]
) -> None:
    spec, slow = make_spec(), spec_of("ia3")
    undisturbed, beside = (Trainee(attach(base, name, spec), spec, make_rows(12, 0)) for name in "ab")
    losses = train(base, [undisturbed], 6)["a"]
    by_peft_alone = saved_adapter(base, slow.adapter, folders["lora"].parent / "ia3", far=0.3)
    served = adapters(sampler := Sampler(base, pool_of(base, 128, step_tokens=21)), folders)
    served["ia3"] = sampler.load_adapter(by_peft_alone, "ia3")
    answers = expected | {"ia3": by_peft(tiny_folder, by_peft_alone, PROMPTS, NEW)}
    for name, adapter in served.items():
        for number, prompt in enumerate(PROMPTS):
            sampler.submit(ask(f"{name} {number}", prompt, adapter, max_tokens=NEW))
    pieces: dict[str, list[int]] = {}
    found: list[object] = []
    while not sampler.idle:
        if len(found) < len(losses):
            found += train(base, [beside], 1)["b"]
        for piece in sampler.step():
            pieces.setdefault(piece.request_id, []).append(int(piece.token or 0))
    for name, each in answers.items():
        assert [pieces[f"{name} {number}"] for number in range(len(PROMPTS))] == each, name
    assert found == losses
    assert sampler._fast.schedule.preemptions > 0


def test_cancelled_requests_leave_nothing_behind(base: ResidentBase) -> None:
    sampler = Sampler(base, pool_of(base, 256, step_tokens=16))
    for number, prompt in enumerate(prompts(8)):
        sampler.submit(ask(str(number), prompt, max_tokens=50))
    for number in (0, 7, 3):
        sampler.step()
        sampler.cancel(str(number))
        assert not any(piece.request_id == str(number) for piece in sampler.step())
    for number in range(8):
        sampler.cancel(str(number))
    assert sampler.idle
    assert sampler.load.pool_share == 0
    assert sampler.step() == []


def test_answers_to_one_prompt_share_its_computation(base: ResidentBase) -> None:
    sampler = Sampler(base)
    (prompt,) = prompts(1, longest=60, seed=7)
    prompt = (prompt * 50)[:50]
    pieces = run(sampler, [ask(f"{n}", prompt, seed=n, temperature=1.0) for n in range(4)])
    assert [each[0].cached_tokens for each in pieces.values()] == [0, 48, 48, 48]
    assert len({tuple(tokens(each)) for each in pieces.values()}) == 4


def test_a_beginning_is_cached_for_the_content_of_an_adapter_and_not_for_its_name(
    base: ResidentBase, folders: dict[str, Path]
) -> None:
    sampler = Sampler(base)
    prompt = list(range(20, 70))
    first, other = (sampler.load_adapter(folders[name], name) for name in ("lora", "dora"))

    def cached(adapter: ServedAdapter | None) -> int:
        return run(sampler, [ask("a", prompt, adapter)])["a"][0].cached_tokens

    assert [cached(each) for each in (None, first, other, first, None)] == [0, 0, 0, 48, 48]
    assert cached(sampler.load_adapter(folders["lora"], "lora")) == 48


def test_the_least_recently_used_beginning_leaves_the_pool_first(base: ResidentBase) -> None:
    sampler = Sampler(base, pool_of(base, 160))
    old, kept, new = (list(range(start, start + 50)) for start in (20, 100, 180))

    def cached(prompt: list[int]) -> int:
        return run(sampler, [ask("a", prompt, max_tokens=2)])["a"][0].cached_tokens

    assert [cached(old), cached(kept), cached(old), cached(kept)] == [0, 0, 48, 48]
    assert cached(new) == 0
    assert cached(list(range(230, 290))) == 0
    assert cached(kept) > 0
    assert cached(old) == 0


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_sampled_answers_follow_from_the_seed_whoever_is_computed_beside(
    base: ResidentBase, folders: dict[str, Path], temperature: float
) -> None:
    adapter = Sampler(base).load_adapter(folders["lora"], "lora")
    requests = [
        ask(f"{n}", prompt, adapter, seed=n, temperature=temperature, top_p=0.9, max_tokens=9)
        for n, prompt in enumerate(PROMPTS)
    ]
    alone = [tokens(run(Sampler(base), [each])[each.id]) for each in requests]
    together = run(Sampler(base, pool_of(base, 128, step_tokens=9)), requests)
    assert [tokens(together[each.id]) for each in requests] == alone
    again = ask("again", PROMPTS[0], adapter, seed=99, temperature=temperature, top_p=0.9, max_tokens=9)
    assert tokens(run(Sampler(base), [again])["again"]) != alone[0]


def test_an_answer_ends_at_its_limits_and_stops(base: ResidentBase) -> None:
    sampler = Sampler(base)

    def answer(**sampling: object) -> tuple[list[int], str, object, object]:
        pieces = run(sampler, [ask("a", PROMPTS[1], **{"ignore_eos": True, **sampling})])["a"]
        assert all(piece.finish_reason is None for piece in pieces[:-1])
        return tokens(pieces), text(pieces), pieces[-1].finish_reason, pieces[-1].stop_reason

    whole, words, reason, _ = answer()
    assert (len(whole), reason) == (12, "length")
    assert words == base.tokenizer.decode(whole)
    assert answer(stop_tokens=frozenset([whole[3]]))[0::2] == (whole[: whole.index(whole[3]) + 1], "stop")
    stop = f"{whole[2]}> <{whole[3]}"
    assert answer(stop=(stop,))[1:] == (words[: words.index(stop)], "stop", stop)
    late = answer(stop=(stop,), min_tokens=12)
    assert late[1:3] == (words, "length")
    assert whole[3] not in answer(stop_tokens=frozenset([whole[3]]), min_tokens=12)[0]
    assert answer(logit_bias={7: 100.0})[0] == [7] * 12
    assert len(set(answer(frequency_penalty=2.0, presence_penalty=2.0, logit_bias={7: 3.0})[0])) > 1
    assert answer(repetition_penalty=1e6)[0] != whole
    assert len(answer(max_tokens=10_000)[0]) == base.entry.max_length - len(PROMPTS[1])


def test_log_probabilities_are_the_model_s_own(base: ResidentBase, tiny_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    prompt = list(range(30, 75))
    asked = ask("a", prompt, temperature=0.5, logprobs=True, top_logprobs=3, prompt_logprobs=2, top_k=1)
    sampler = Sampler(base, pool_of(base, 512, step_tokens=10))
    run(sampler, [ask("the same, cached", prompt)])
    pieces = run(sampler, [asked])["a"]
    made = tokens(pieces)
    with torch.no_grad():
        logits_LV = model(torch.tensor([prompt + made])).logits[0]
    expected_LV = torch.log_softmax(logits_LV, -1)
    (first, *rest), seen = pieces[0].prompt_logprobs or (), [*prompt, *made]
    assert first is None
    for place, choice in enumerate([*rest, *(piece.chosen for piece in pieces)], start=1):
        row_V = expected_LV[place - 1]
        assert choice is not None
        assert choice.token == seen[place]
        assert math.isclose(choice.logprob, float(row_V[seen[place]]), abs_tol=1e-4)
        assert [token for token, _ in choice.top] == row_V.topk(len(choice.top)).indices.tolist()
        assert len(choice.top) == (2 if place < len(prompt) else 3)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [300]}, "prompt"),
        ({"prompt": [5] * 512}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": [5] * 200, "max_tokens": 200}, "max_tokens"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"logit_bias": {300: 1.0}}, "logit_bias"),
        ({"stop": ("",)}, "stop"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_a_request_that_cannot_be_computed_is_refused_with_its_field(
    base: ResidentBase, changes: dict[str, object], param: str
) -> None:
    sampler = Sampler(base, pool_of(base, 256))
    request = ask("a", **{"prompt": [5], **changes})  # type: ignore[arg-type]
    with pytest.raises(RequestRefused) as refused:
        sampler.submit(request)
    assert refused.value.param == param
    assert sampler.idle


def test_an_adapter_that_computes_no_numbers_fails_its_own_request_alone(
    base: ResidentBase, folders: dict[str, Path]
) -> None:
    sampler = Sampler(base)
    damaged = sampler.load_adapter(folders["lora"], "damaged")
    for group in damaged.factors.values():
        group.A_RK.fill_(math.inf)
    requests: list[GenerationRequest] = [ask("bad", PROMPTS[0], damaged), ask("good", PROMPTS[0])]
    pieces = run(sampler, requests)
    assert pieces["bad"][-1].finish_reason == "error"
    assert "not finite" in str(pieces["bad"][-1].error)
    assert tokens(pieces["good"]) == tokens(run(Sampler(base), [ask("good", PROMPTS[0])])["good"])
