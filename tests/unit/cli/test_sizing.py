"""`tunery size`: its figures follow from what is asked, and from the model of estimates."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.sizing.chats import MOST_AT_ONCE
from core.errors import ConfigurationError
from tests.fixtures.paths import REPOSITORY
from worker.engine.sampler.sampler import Limits

EIGHT = {"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
SEVENTY = {
    "num_hidden_layers": 80,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
}
ALIKE = {"model_type": "llama", "num_key_value_heads": 8, "vocab_size": 128256}


@pytest.fixture
def eight(tmp_path: Path) -> str:
    return folder_of(tmp_path / "8b", EIGHT)


@pytest.fixture
def seventy(tmp_path: Path) -> str:
    return folder_of(tmp_path / "70b", SEVENTY)


def folder_of(folder: Path, sizes: dict[str, int]) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(ALIKE | sizes))
    return str(folder)


def sized(*arguments: str) -> dict[str, Any]:
    cards = ("--card", "l4", "--card", "h100")  # each card takes a while
    ended = CliRunner().invoke(app, ["size", *arguments, *cards, "--json"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return dict(json.loads(ended.stdout))


def on(found: dict[str, Any], card: str) -> dict[str, Any]:
    return next(each for each in found["cards"] if each["card"] == card)


def amounts(found: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: each["bytes"] for each in found["figures"]}


def test_more_jobs_take_more_cards_and_a_faster_card_fewer(eight: str) -> None:
    few, many = sized(eight, "--jobs", "10"), sized(eight, "--jobs", "1000")
    for card in ("l4", "h100"):
        assert on(many, card)["training_hours"] == pytest.approx(100 * on(few, card)["training_hours"])
        assert on(many, card)["training_cards"][0] > on(few, card)["training_cards"][0]
        assert on(many, card)["training_cards"][1] > on(many, card)["training_cards"][0]
    assert on(many, "h100")["training_cards"] < on(many, "l4")["training_cards"]


def test_jobs_of_a_working_day_take_three_times_the_cards_of_a_whole_day(eight: str) -> None:
    day, working = (on(sized(eight, "--jobs", "3000", "--hours", hours), "l4") for hours in ("24", "8"))
    assert working["training_cards"][0] == pytest.approx(3 * day["training_cards"][0], abs=3)
    assert working["training_hours"] == day["training_hours"]


def test_what_is_kept_grows_with_the_days_and_all_weights_are_larger_than_a_lora(eight: str) -> None:
    month, year = sized(eight, "--days", "30"), sized(eight, "--days", "360")
    for name in ("store, for all days", "Postgres, for all days"):
        assert amounts(year)[name] == pytest.approx(12 * amounts(month)[name])
    full = sized(eight, "--days", "30", "--full")
    assert amounts(full)["store, for all days"] > 50 * amounts(month)["store, for all days"]
    assert amounts(full)["disk of a worker: base model"] == pytest.approx(16e9, rel=0.02), "8 B of 2 bytes"


def test_a_model_of_seventy_billion_needs_several_cards_that_share_it(seventy: str) -> None:
    alone, spread = sized(seventy), sized(seventy, "--devices", "8", "--fsdp")
    assert not on(alone, "h100")["fits"]
    assert on(alone, "h100")["training_cards"] is None
    assert on(spread, "h100")["fits"]
    assert on(spread, "h100")["training_cards"][0] % 8 == 0


def test_a_server_answers_as_many_at_once_as_its_sampler() -> None:
    assert Limits().max_running == MOST_AT_ONCE


def test_chats_take_cards_by_their_number_and_their_length(eight: str) -> None:
    def cards(*more: str) -> int:
        return int(on(sized(eight, "--chats", "20", *more), "l4")["chat_cards"])

    assert on(sized(eight), "l4")["chat_cards"] is None, "nobody chats"
    assert cards("--answer", "400") > cards("--answer", "200") > cards("--answer", "20")
    assert cards("--quantization", "nf4") < cards(), "fewer bytes are read for a token"


def test_each_figure_says_where_it_is_from_and_people_read_that_no_gpu_was_measured(eight: str) -> None:
    assert all(each["source"] for each in sized(eight)["figures"])
    shown = CliRunner().invoke(app, ["size", eight, "--card", "l4"])
    assert "Nothing was measured on a GPU" in shown.stderr
    assert "assumed" in shown.stdout


def test_the_page_shows_what_the_command_prints(eight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs/operate/sizing.md").read_text()
    (command,) = re.findall(r"^tunery (size .*)$", page, re.MULTILINE)
    monkeypatch.chdir(Path(eight).parent)
    Path(eight).rename(command.split()[1])
    printed = CliRunner().invoke(app, command.split()).stdout
    shown = page.partition("<!-- size -->")[2].partition("<!-- end of size -->")[0]
    assert shown.replace("```", "").split() == printed.split(), printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "catalog has no model 'nowhere'"),
        (["smollm2-135m-instruct", "--card", "tpu"], "No card is called 'tpu'. There are rtx-4090"),
        (["smollm2-135m-instruct", "--tokens", "9000"], "at most 2,048 tokens"),
    ],
)
def test_what_cannot_be_sized_is_refused_with_a_reason(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        CliRunner().invoke(app, ["size", *arguments], catch_exceptions=False)
