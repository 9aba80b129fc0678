"""The benchmark of learning from rewards: its rows, its graders, and the time until a reward."""

import csv
import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.peers.rewards import LearningResult, Row, Setup, reward_function
from bench.reinforce import page
from bench.reinforce.curves import common_reward, seconds_to
from bench.reinforce.held_out import mean_reward
from bench.reinforce.learning import TASKS, setup_of
from bench.reinforce.ours import in_file_order, seconds_of
from bench.reinforce.tasks import banking
from bench.reinforce.tasks.task import as_chat, as_prompt
from bench.training.workloads import sql_questions
from core.datasets.kinds import kind_of
from core.graders.python.sandbox import GraderFailed
from tests.fixtures.work.sandboxes import graded, sandbox_of
from worker.engine.step.data_order import order_of

TRAINING, HELD_OUT = 12, 8
SUM, CARD = {"sum": 42}, {"intent": "change_pin"}
PERSON = {"fields": {"name": "Ada", "age": 36, "city": "Oslo"}}
KNOWN = [
    ("addition", SUM, "42", 1.0),
    ("addition", SUM, " 42\n", 1.0),
    ("addition", SUM, "41", 0.9),
    ("addition", SUM, "52", 0.0),
    ("addition", SUM, "7000", 0.0),
    ("addition", SUM, "The sum is 42.", 0.0),
    ("addition", SUM, "42 is the sum", 0.0),
    ("addition", SUM, "", 0.0),
    ("banking", CARD, "change_pin", 1.0),
    ("banking", CARD, "change_pin\n", 1.0),
    ("banking", CARD, "card_arrival", 0.2),
    ("banking", CARD, "change_the_pin", 0.0),
    ("banking", CARD, "change_pin, card_arrival", 0.0),
    ("fields", PERSON, '{"name": "Ada", "age": 36, "city": "Oslo"}', 1.0),
    ("fields", PERSON, '{"city": "Oslo", "age": 36, "name": "Eve"}', 0.75),
    ("fields", PERSON, '{"name": "Eve", "age": 1, "city": "Rome"}', 0.25),
    ("fields", PERSON, '{"name": "Ada", "age": "36", "city": "Oslo"}', 0.0),
    ("fields", PERSON, '{"name": "Ada", "age": true, "city": "Oslo"}', 0.0),
    ("fields", PERSON, '{"name": "Ada", "age": 36}', 0.0),
    ("fields", PERSON, '["Ada", 36, "Oslo"]', 0.0),
    ("fields", PERSON, '{"name": "Ada", ', 0.0),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder: chats with SQL, and two files in which each label has three questions.

    Questions with a label that is no task's stand among them.
    """
    (tmp_path / "text2sql").mkdir()
    chats = islice(sql_questions(random.Random(1)), 40)
    (tmp_path / "text2sql/chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    (tmp_path / "banking77").mkdir()
    for name in ("train", "test"):
        with (tmp_path / f"banking77/{name}.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["text", "category"])
            for label in (*banking.LABELS, "top_up_limits"):
                lines.writerows([f"{name}, {number}: {label}?", label] for number in range(3))
    return tmp_path


@pytest.mark.parametrize(("task", "item", "answer", "reward"), KNOWN)
def test_each_trainer_gets_the_reward_that_an_answer_deserves(
    task: str, item: dict[str, Any], answer: str, reward: float
) -> None:
    grader = TASKS[task].grader
    assert reward_function(grader)(answer, item) == pytest.approx(reward), "as TRL gets it"
    assert graded(sandbox_of("monty"), grader["source"], answer, item) == pytest.approx(reward)


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_of_each_row_has_the_whole_reward(name: str, data: Path) -> None:
    reward = reward_function(TASKS[name].grader)
    for row in [row for part in TASKS[name].rows(data, TRAINING, HELD_OUT) for row in part]:
        assert reward(row["messages"][-1]["content"], as_prompt(row)) == 1


@pytest.mark.parametrize("name", TASKS)
def test_no_prompt_is_held_out_and_trained_on(name: str, data: Path) -> None:
    parts = TASKS[name].rows(data, TRAINING, HELD_OUT)
    training, held_out = ({row["messages"][-2]["content"] for row in part} for part in parts)
    assert [len(training), len(held_out)] == [TRAINING, HELD_OUT]
    assert not training & held_out


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_the_same_each_time_and_have_the_form_of_their_job(name: str, data: Path) -> None:
    rows = TASKS[name].rows(data, TRAINING, HELD_OUT)[0]
    assert rows == TASKS[name].rows(data, TRAINING, HELD_OUT)[0]
    for row in rows:
        prompt, chat = as_prompt(row), as_chat(row)
        assert kind_of(prompt) == "prompt"
        assert kind_of(chat) == "chat"
        learnt = [
            turn for turn in chat["messages"] if turn["role"] == "assistant" and turn.get("weight") != 0
        ]
        assert learnt == row["messages"][-1:], "worked examples are no answers to learn"


def test_too_few_questions_are_refused_with_the_number_that_is_there(data: Path) -> None:
    with pytest.raises(ValueError, match="has 24 questions with these labels, but 25 are needed"):
        banking.rows(data, 25, 1)


def test_the_service_takes_the_prompts_in_the_order_of_the_other_trainers() -> None:
    taken: list[Row] = [{"place": place} for place in range(20)]
    file = in_file_order(taken, seed=3)
    assert file != taken
    assert [file[line] for line in order_of(3, 0, len(file))] == taken


def test_the_setup_says_the_same_after_it_was_a_file(data: Path, tmp_path: Path) -> None:
    setup = setup_of(TASKS["banking"], *banking.rows(data, TRAINING, HELD_OUT), 3, 7)
    setup.write(tmp_path / "setup.json")
    assert Setup.read(tmp_path / "setup.json") == setup
    assert setup.steps == 3


def test_a_step_takes_the_seconds_of_sampling_grading_and_the_update() -> None:
    rounds = [
        {"trained_seconds": 2.0, "timing": {"step": {"sampling": 1.0, "grading": 0.5}}},
        {"trained_seconds": 5.0, "timing": {"step": {"sampling": 2.0, "grading": 0.25}}},
    ]
    assert seconds_of(rounds) == [3.5, 5.25]


def test_a_reward_is_reached_between_two_validations_on_a_straight_line() -> None:
    curve = [(0.0, 0.2), (10.0, 0.1), (20.0, 0.5), (30.0, 0.4)]
    assert seconds_to(curve, 0.3) == 15.0
    assert seconds_to(curve, 0.5) == 20.0
    assert seconds_to(curve, 0.2) == 0.0
    assert seconds_to(curve, 0.6) is None


def test_the_common_reward_is_the_highest_that_each_reaches_if_each_has_learnt() -> None:
    slow, fast = [(0.0, 0.2), (40.0, 0.6)], [(0.0, 0.3), (10.0, 0.8), (20.0, 0.7)]
    assert common_reward([slow, fast]) == 0.6
    assert common_reward([slow, [(0.0, 0.3), (10.0, 0.25)]]) is None, "it has learnt nothing"


def result(seconds: list[float], rewards: list[float]) -> LearningResult:
    """Return a result with a validation before the first step and after each step."""
    return LearningResult(seconds, rewards[1:], [*enumerate(rewards)], 100.0, 10**9, {}, {})


def test_the_time_to_a_reward_is_that_of_the_mean_curve_of_a_trainers_runs() -> None:
    found = {
        "Tunery": [result([2.0, 2.0], [0.1, 0.3, 0.5]), result([4.0, 4.0], [0.1, 0.5, 0.7])],
        "TRL": [result([30.0, 30.0], [0.1, 0.2, 0.4])],
    }
    target, seconds = page.times_to_reward(found)
    assert target == pytest.approx(0.4)
    assert seconds == {"Tunery": pytest.approx(3.0), "TRL": pytest.approx(60.0)}


def test_an_interval_is_over_the_prompts_with_their_means_over_the_seeds() -> None:
    rewards = np.random.default_rng(1).integers(0, 2, 100).astype(float).tolist()
    once, thrice = mean_reward([rewards]), mean_reward([rewards] * 3)
    assert once == thrice, "the same prompts again tell nothing new"
    assert once.value == np.mean(rewards)
    assert once.low is not None
    assert once.high is not None
    assert once.low < once.value < once.high
    opposite = mean_reward([rewards, [1 - reward for reward in rewards]])
    assert opposite.value == 0.5


def test_the_page_has_the_rewards_the_times_and_a_failed_run(tmp_path: Path) -> None:
    ours = result([2.0, 2.0], [0.1, 0.3, 0.5])

    def run(trainer: str, seed: int, of: LearningResult | None, failure: str | None = None) -> dict[str, Any]:
        told = json.loads(json.dumps(of.__dict__)) if of else None
        return {"trainer": trainer, "seed": seed, "number": 1, "result": told, "failure": failure}

    section = {
        "base_model": "a base",
        "setup": {
            **{"rank": 16, "learning_rate": 2e-4, "batch_size": 4, "num_generations": 8},
            "max_completion_tokens": 6,
        },
        **{"steps": 2, "held_out": 4, "validation": 2, "seeds": 2, "runs_of_each": 1, "commit": "c0ffee"},
        "date": "2026-12-02",
        "machine": {"threads": 2, "cpu": "a CPU", "isa": ["avx2"]},
        "runs": [
            run("Tunery", 1, ours),
            run("TRL", 1, result([30.0, 30.0], [0.1, 0.2, 0.4])),
            run("Tunery", 2, None, "out of memory"),
        ],
        "rewards": {"base": [[0, 0, 1, 0]], "Tunery": [[1, 0, 1, 1], [1, 1, 1, 1]]},
    }
    path = tmp_path / "reinforce-2026-12-02.json"
    page.write(path, {"addition": section})
    text = path.with_suffix(".md").read_text()
    assert "to the reward 0.400, s" in text
    assert "0.750 to 1.000" in text, "the seeds"
    assert "Tunery, seed 2 failed: out of memory" in text
    cells = {
        line.split("|")[1].strip(): line.split("|") for line in text.splitlines() if line.startswith("|")
    }
    assert [cells["TRL"][column].strip() for column in (2, 3, 4)] == ["30.00", "60.0", "20.00"]
    picture = (tmp_path / "reinforce-2026-12-02-addition.svg").read_text()
    assert picture.count("<polyline") == 2
    assert "Tunery, seed 1" in picture


def test_a_grader_that_fails_stops_the_trainer_instead_of_paying_nothing() -> None:
    source = TASKS["addition"].grader["source"]
    with pytest.raises(KeyError):
        reward_function({"source": source})("42", {})
    with pytest.raises(GraderFailed):
        graded(sandbox_of("monty"), source, "42", {})
