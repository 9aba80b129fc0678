"""Draws follow the distribution that transformers' warpers leave."""

from collections import Counter

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from worker.engine.sampler.chooser import FIRST_CANDIDATES, Chooser, draw, uniform
from worker.engine.sampler.requests import Sampling

WORDS = 4 * FIRST_CANDIDATES
DRAWS = 4000


@pytest.mark.parametrize(
    ("options", "warpers"),
    [
        ({}, []),
        ({"top_k": 5}, [TopKLogitsWarper(5)]),
        ({"top_p": 0.3}, [TopPLogitsWarper(0.3)]),
        ({"top_p": 0.99}, [TopPLogitsWarper(0.99)]),
        ({"min_p": 0.2}, [MinPLogitsWarper(0.2)]),
        ({"top_k": 9, "top_p": 0.6}, [TopKLogitsWarper(9), TopPLogitsWarper(0.6)]),
        ({"top_p": 0.0}, [TopKLogitsWarper(1)]),
    ],
)
def test_draws_have_the_distribution_of_transformers(
    options: dict[str, float], warpers: list[object]
) -> None:
    logits_V = torch.randn(WORDS, generator=torch.Generator().manual_seed(3)) * 2
    processors = LogitsProcessorList([TemperatureLogitsWarper(0.8), *warpers])
    expected_V = torch.softmax(processors(None, logits_V[None])[0], -1)
    sampling = Sampling(1, temperature=0.8, **options)  # type: ignore[arg-type]
    counts = Counter(draw(logits_V, sampling, (n + 0.5) / DRAWS) for n in range(DRAWS))
    found_V = torch.zeros(WORDS)
    found_V[[*counts]] = torch.tensor([*counts.values()]) / DRAWS
    assert not found_V[expected_V == 0].any()
    assert float((found_V - expected_V).abs().max()) <= 1.5 / DRAWS


@pytest.mark.parametrize("temperature", [1e-310, 1e-40, 1e-6, 1e-5])
def test_with_a_tiny_temperature_the_likeliest_token_comes(temperature: float) -> None:
    for min_tokens in (0, 1):  # by the logits as they are, and changed ones
        chooser = Chooser(Sampling(1, min_tokens, temperature=temperature), [], frozenset([0]), None)
        assert chooser.choose(torch.tensor([1.0, 30.0, 2.0])) == 1


def test_numbers_of_a_seed_are_spread_evenly_and_differ_from_place_to_place() -> None:
    found = [uniform(seed, place) for seed in range(40) for place in range(50)]
    assert len({*found}) == len(found)
    counts = Counter(int(10 * u) for u in found)
    assert {*counts} == {*range(10)}
    assert all(150 < each < 250 for each in counts.values())
    assert uniform(7, 3) == uniform(7, 3)
