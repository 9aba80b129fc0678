"""The benchmark gives all trainers the same rows, the same learning rates and the same validation."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from bench.peers.measuring import (
    BETA,
    LEARNING_RATE,
    MAX_GRAD_NORM,
    PAIR_LEARNING_RATE,
    UNLABELLED,
    WARMUP_RATIO,
    Encoded,
    learning_rates,
    read_conversations,
    require_schedule,
    warmup_steps,
)
from bench.training.validation import preference_loss
from bench.training.workloads import JOB_RANKS, PAIRS, VALIDATION_ROWS, build, build_jobs
from core.datasets.preference_rules import pair
from core.jobs.spec import TrainingOptions, usual_learning_rate
from core.objectives import dpo


@pytest.mark.parametrize("steps", [1, 6, 20, 100])
def test_expected_learning_rates_are_those_of_transformers_schedule(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LEARNING_RATE)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps(steps), steps)
    rates = []
    for _ in range(steps):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    require_schedule(rates, steps)


def test_a_run_with_another_warm_up_is_refused() -> None:
    with pytest.raises(SystemExit, match="learning rates"):
        require_schedule([0.0, *learning_rates(5)], 6)


def test_peers_are_given_the_settings_that_our_jobs_have_by_default() -> None:
    ours = TrainingOptions()
    assert (usual_learning_rate("lora"), ours.warmup_ratio) == (LEARNING_RATE, WARMUP_RATIO)
    assert (ours.max_grad_norm, ours.weight_decay, ours.lr_scheduler_type) == (MAX_GRAD_NORM, 0.0, "cosine")


def test_labels_are_the_answer_and_its_end_marker() -> None:
    row = Encoded(tokens=[5, 6, 7, 8, 9], answer=2, end=4)
    assert row.labels == [UNLABELLED, UNLABELLED, 7, 8, UNLABELLED]


def test_rows_held_out_follow_those_to_train_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "gsm8k").mkdir(parents=True)
    lines = [{"question": f"q{number}", "answer": f"a{number}"} for number in range(30)]
    (data / "gsm8k/train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = build("gsm8k", tmp_path, data, n=3)
    assert answers(files.train) == ["a0", "a1", "a2"]
    assert answers(files.validation) == [f"a{number}" for number in range(3, 3 + VALIDATION_ROWS)]


def test_every_small_job_has_rows_of_its_own(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "e2e_nlg").mkdir(parents=True)
    lines = "".join(f"name : {number}||It is {number} .\n" for number in range(16 * (2 + VALIDATION_ROWS)))
    (data / "e2e_nlg/valid.txt").write_text(lines)
    jobs = build_jobs("e2e16", tmp_path, len(JOB_RANKS), data, n=2)
    rows = [answer for job in jobs for file in (job.train, job.validation) for answer in answers(file)]
    assert len(set(rows)) == len(rows) == 16 * (2 + VALIDATION_ROWS)


def test_pairs_held_out_follow_those_to_train_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "preference").mkdir(parents=True)
    rows = [
        {
            "conversations": [{"from": "human", "value": f"q{number}"}],
            "chosen": {"from": "gpt", "value": f"good {number}"},
            "rejected": {"from": "gpt", "value": f"bad {number}"},
        }
        for number in range(30)
    ]
    (data / "preference/some.json").write_text(json.dumps(rows))
    files = build(PAIRS, tmp_path, data, n=4)
    read = read_conversations(files.train)
    assert [[turn["content"] for turn in row["messages"]] for row in read] == [
        ["q0", "good 0"],
        ["q0", "bad 0"],
        ["q1", "good 1"],
        ["q1", "bad 1"],
    ]
    assert len(read_conversations(files.validation)) == VALIDATION_ROWS


def test_generated_pairs_are_pairs_of_ours_with_unlike_answers(tmp_path: Path) -> None:
    files = build(PAIRS, tmp_path, n=8)
    for line in files.train.read_text().splitlines():
        _, preferred, other = pair(json.loads(line))
        assert preferred["content"] != other["content"]


def test_dpo_runs_at_the_rate_and_the_beta_that_our_jobs_have_by_default() -> None:
    requested = dpo.OBJECTIVE.requested()
    multiplier = dpo.OBJECTIVE.resolve_hyperparameters(requested, 100).learning_rate_multiplier
    assert usual_learning_rate("lora") * multiplier == pytest.approx(PAIR_LEARNING_RATE)
    assert dpo.OBJECTIVE.resolve_options(requested) == dpo.Dpo(beta=BETA)


def test_the_validation_of_pairs_is_dpos_loss() -> None:
    reference = torch.tensor([3.0, 5.0, 2.0, 2.0])
    assert preference_loss(reference, reference) == pytest.approx(math.log(2))
    found = preference_loss(torch.tensor([1.0, 8.0, 2.0, 2.0]), reference)
    first = -math.log(1 / (1 + math.exp(-BETA * ((3 - 1) - (5 - 8)))))
    assert found == pytest.approx((first + math.log(2)) / 2)


def answers(file: Path) -> list[str]:
    return [json.loads(line)["messages"][-1]["content"] for line in file.read_text().splitlines()]
