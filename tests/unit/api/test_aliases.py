"""Which model of an alias answers: the same for equal keys, by weight over many, and stable under change."""

from collections import Counter

import pytest

from api.adapters import aliases

KEYS = [f"user-{number}" for number in range(20_000)]


def chosen(weights: dict[str, int], key: str) -> str:
    return aliases.chosen(weights, lambda: key)


@pytest.mark.parametrize("weights", [{"a": 95, "b": 5}, {"a": 1, "b": 1, "c": 2}, {"only": 7}])
def test_each_model_gets_its_share_of_the_keys(weights: dict[str, int]) -> None:
    shares = Counter(chosen(weights, key) for key in KEYS)
    for model, weight in weights.items():
        assert shares[model] / len(KEYS) == pytest.approx(weight / sum(weights.values()), abs=0.01)


def test_equal_keys_get_the_same_model_whatever_the_order_of_the_weights() -> None:
    for key in KEYS[:1000]:
        assert chosen({"a": 60, "b": 40}, key) == chosen({"b": 40, "a": 60}, key)


def test_a_larger_share_keeps_the_keys_that_the_model_had() -> None:
    canary = {key for key in KEYS if chosen({"a": 95, "b": 5}, key) == "b"}
    larger = {key for key in KEYS if chosen({"a": 80, "b": 20}, key) == "b"}
    assert canary < larger
