"""The losses of single rows before and after a real training: rows with a wrong label come out first."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from core.objectives.registry import OBJECTIVES
from core.statuses import ENDED
from tests.fixtures.models.tiny import TINY
from tests.fixtures.processes.resting import resting
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.trainer import job_of, running

JOBS = "/v1/fine_tuning/jobs"
WRONG = {6, 17, 28}  # lines
LETTERS = {"warm": "aeiou", "cold": "xzkqv"}


def content(rows: int, seed: int, wrong: set[int]) -> bytes:
    """Return rows whose words are warm or cold by their letters. The lines `wrong` say the opposite."""
    draw, lines = random.Random(seed), []
    for line in range(1, rows + 1):
        label, other = ("warm", "cold") if line % 2 else ("cold", "warm")
        word = "".join(draw.choice(LETTERS[label]) for _ in range(8))
        said = {"role": "assistant", "content": other if line in wrong else label}
        lines.append(json.dumps({"messages": [{"role": "user", "content": word}, said]}))
    return "\n".join(lines).encode()


def rows(tenant: Tenant, job_id: str, **query: Any) -> list[dict[str, Any]]:
    found = tenant.http.get(f"{JOBS}/{job_id}/rows", params={"limit": 1000, **query}).json()
    return list(found["data"])


@pytest.mark.exhaustive
def test_rows_with_a_wrong_label_come_first_and_a_resumed_job_keeps_what_it_measured(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = tenant.create_job(
        model=TINY,
        training_file=tenant.upload(content(48, 1, WRONG)),
        validation_file=tenant.upload(content(12, 2, set())),
        hyperparameters={"n_epochs": 8, "batch_size": 4},
        training={"learning_rate": 1e-2, "row_losses": 48},
        seed=3,
    )["id"]
    with resting(0.2), running(fp32_api):  # so that the job does not end before its trainer stops
        wait_for(lambda: tenant.job(job_id)["progress"]["step"] >= 2, 240)
    before = {row["id"]: row["loss_before"] for row in rows(tenant, job_id)}
    assert len(before) == 60
    with running(fp32_api):
        wait_for(lambda: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
    assert job_of(fp32_api, job_id).status == "succeeded"
    suspects = rows(tenant, job_id, order="likely_mislabelled")
    assert {(row["part"], row["line"]) for row in suspects[:3]} == {("training", line) for line in WRONG}
    assert {row["id"]: row["loss_before"] for row in suspects} == before
    assert all(row["loss_after"] < row["loss_before"] for row in suspects if row["part"] == "validation")
    learnt = rows(tenant, job_id, order="most_forgotten", part="training")
    assert learnt[0]["change"] > learnt[-1]["change"]


def test_a_part_of_many_rows_is_measured_evenly(fp32_api: Api) -> None:
    tenant = fp32_api.tenant()
    job_id = tenant.create_job(
        model=TINY,
        training_file=tenant.upload(content(40, 1, set())),
        hyperparameters={"n_epochs": 1, "batch_size": 20},
        training={"row_losses": 4},
    )["id"]
    with running(fp32_api):
        wait_for(lambda: job_of(fp32_api, job_id).status not in ("queued", "running"), 240)
    assert {row["line"] for row in rows(tenant, job_id)} == {1, 11, 21, 31}


def asked(line: int) -> list[dict[str, Any]]:
    """Return a prompt of its own length for each line."""
    return [{"role": "user", "content": "Say a word. " * (1 + line % 4) + str(line)}]


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def pair_row(line: int) -> dict[str, Any]:
    return {"prompt": asked(line), "chosen": said(f"yes {line}"), "rejected": said(f"not at all {line}")}


def labelled_row(line: int) -> dict[str, Any]:
    return {"messages": [*asked(line), *said(f"yes {line}")], "label": line % 3 > 0}


def chat_row(line: int) -> dict[str, Any]:
    return {"messages": [*asked(line), *said(f"yes {line}")]}


def create(tenant: Tenant, row: Callable[[int], Any], method: str, most: int) -> str:
    file = tenant.upload("\n".join(json.dumps(row(line)) for line in range(1, 17)).encode())
    job = tenant.create_job(
        model=TINY,
        training_file=file,
        method={"type": method},
        hyperparameters={"n_epochs": 2, "batch_size": 4},
        training={"learning_rate": 1e-2, "row_losses": most},
        seed=3,
    )
    return str(job["id"])


def losses(tenant: Tenant, job_id: str) -> dict[int, Any]:
    """Return the losses of a job's rows by their lines."""
    found = rows(tenant, job_id)
    assert len({each["line"] for each in found}) == len(found), "of two answers, one is measured"
    return {each["line"]: each for each in found}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "method", [name for name, each in OBJECTIVES.items() if name != "supervised" and not each.samples_answers]
)
def test_jobs_beyond_cross_entropy_measure_the_preferred_answer_as_any_job_would(
    fp32_api: Api, method: str
) -> None:
    tenant, row = fp32_api.tenant(), labelled_row if method == "kto" else pair_row
    asked_for = [(chat_row, "supervised", 16), (row, method, 16), (row, method, 4)]
    jobs = [create(tenant, *each) for each in asked_for]
    with running(fp32_api):
        wait_for(lambda: all(job_of(fp32_api, job).status in ENDED for job in jobs), 240)
    assert {job_of(fp32_api, job).status for job in jobs} == {"succeeded"}
    expected, found, few = (losses(tenant, job) for job in jobs)
    assert set(found) == set(expected) == set(range(1, 17))
    for line, each in found.items():
        assert each["tokens"] == expected[line]["tokens"]
        assert each["loss_before"] == pytest.approx(expected[line]["loss_before"], rel=1e-4), line
        assert each["loss_after"] != each["loss_before"]
    assert set(few) == {1, 5, 9, 13}
    for line, each in few.items():
        assert each["loss_before"] == pytest.approx(expected[line]["loss_before"], rel=1e-4)
