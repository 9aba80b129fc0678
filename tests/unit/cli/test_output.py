"""What commands print for people."""

from typing import Any

import pytest

from cli.client.errors import Refused
from cli.client.output import cell
from cli.client.progress import JobLines, Lines
from cli.client.tasks import show_task


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.2345678901234567, "1.235"),
        (0.0002, "0.0002"),
        (1.5e-05, "1.5e-05"),
        (12345.678, "12346"),
        ({"valid_loss": 2.3456789}, "valid_loss 2.346"),
        ([0.1 + 0.2], "0.3"),
    ],
)
def test_numbers_have_four_digits(value: Any, shown: str) -> None:
    assert cell("loss", value) == shown


def test_settings_without_a_value_are_left_out() -> None:
    assert cell("adapter", {"r": 8, "rank_pattern": {}, "eva_config": None, "layers": []}) == "r 8"
    assert cell("training", {"row_losses": 0, "deterministic": False}) == "row_losses 0  deterministic False"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "It is not on offer. `GET /v1/models` lists them.",
            "It is not on offer. `tunery models list` lists them.",
        ),
        ("Move it by POST /v1/aliases.", "Move it by `tunery aliases set`."),
        ("Delete it by DELETE /v1/aliases/prod.2; its", "Delete it by `tunery aliases delete prod.2`; its"),
        ("Move it by DELETE /v1/aliases/prod.", "Move it by `tunery aliases delete prod`."),
        ("See GET /v1/models/x and POST /v1/files.", "See GET /v1/models/x and POST /v1/files."),
    ],
)
def test_a_request_that_the_server_names_is_shown_as_the_command(said: str, shown: str) -> None:
    refused = Refused(404, said, "not_found", {"message": said})
    assert str(refused) == f"{shown} (not_found)"
    assert refused.details["message"] == said, "for programs"


def job(step: int, phase: str = "training") -> dict[str, Any]:
    return {"status": "running", "progress": {"phase": phase, "step": step, "total_steps": 9}}


def test_without_a_terminal_a_line_comes_only_with_something_new(capsys: pytest.CaptureFixture[str]) -> None:
    lines, of_task = JobLines(line_seconds=0), Lines(line_seconds=0)
    for shown in (job(0), job(0), job(1), job(1), job(1, "saving")):
        lines.show(shown, [])
    for percent in (0, 0, 50):
        progressing = {"phase": "checking", "percent": percent}
        show_task(of_task, {"id": "x", "status": "running", "progress": progressing})
    assert capsys.readouterr().err.splitlines() == [
        "training  step 0/9",
        "training  step 1/9",
        "saving  step 1/9",
        "x: checking 0 %",
        "x: checking 50 %",
    ]
