"""`tunery sweeps` against the real API."""

from typing import Any

import pytest

from cli.commands.sweeps import read_tried
from core.errors import ConfigurationError
from tests.fixtures.service.api import BASE_MODEL, Tenant, dataset
from tests.fixtures.service.shell import Shell


def test_a_sweep_is_created_from_paths_listed_shown_and_cancelled(tunery: Shell, alice: Tenant) -> None:
    for name in ("train.jsonl", "valid.jsonl"):
        (tunery.cwd / name).write_bytes(dataset(12))
    arguments = [
        "train.jsonl",
        "--model",
        BASE_MODEL,
        "--validation",
        "valid.jsonl",
        "--try",
        "adapter.r=4,8",
    ]
    sweep = tunery.json("sweeps", "create", *arguments, "--set", "training.learning_rate=1e-3")
    assert sweep["parameters"] == {"adapter.r": [4, 8]}
    assert {each["learning_rate"] for each in sweep["candidates"]} == {1e-3}
    assert sweep["id"] in [each["id"] for each in tunery.json("sweeps", "list")]
    shown = tunery.run("sweeps", "get", sweep["id"])
    assert (shown.returncode, shown.stdout.count("waiting")) == (0, 2)
    assert tunery.json("sweeps", "cancel", sweep["id"])["status"] == "cancelled"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["adapter.r=4,8"], {"adapter.r": [4, 8]}),
        (["adapter.r=4", "adapter.r=8"], {"adapter.r": [4, 8]}),
        (["training.learning_rate=1e-4,3e-4"], {"training.learning_rate": [1e-4, 3e-4]}),
        (
            ["adapter.target_modules=all-linear,q_proj+v_proj"],
            {"adapter.target_modules": ["all-linear", ["q_proj", "v_proj"]]},
        ),
    ],
)
def test_values_to_try_are_numbers_or_names_of_modules(
    given: list[str], expected: dict[str, list[Any]]
) -> None:
    assert read_tried(given) == expected


@pytest.mark.parametrize("given", ["adapter.r", "=4", "adapter.r="])
def test_what_names_no_values_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"such as adapter\.r=4,8"):
        read_tried([given])
