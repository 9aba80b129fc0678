"""An objective is described once: requests, jobs, the command line and documents follow from its file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.document import openapi_document
from api.jobs.method_view import method_view
from cli.commands.jobs.request import Method
from core.datasets.kinds import KINDS
from core.jobs.spec import Hyperparameters, JobSpec
from core.objectives import NAMES
from core.objectives.objective import Objective, ObjectiveOptions
from core.objectives.registry import OBJECTIVES
from core.objectives.reinforcement import Reinforcement

DATASETS = Path(__file__).parents[4] / "docs" / "datasets.md"
EACH = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=NAMES)
GRADER = {"type": "string_check", "name": "same", "input": "a", "reference": "b", "operation": "eq"}
# Options that a request must have beside the hyperparameters
BESIDE: dict[str, dict[str, Any]] = {"reinforcement": {"grader": GRADER}, "distillation": {"teacher": "big"}}


def options_of(objective: Objective, **asked: Any) -> ObjectiveOptions:
    return objective.options(**asked, **BESIDE.get(objective.name, {}))


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = openapi_document()["components"]["schemas"]
    return found


@EACH
def test_an_objective_has_the_name_of_its_module(objective: Objective) -> None:
    assert OBJECTIVES[objective.name] is objective
    assert objective.dataset in KINDS


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("supervised", '{"type":"supervised"}'),
        ("dpo", '{"type":"dpo","beta":0.1}'),
        ("orpo", '{"type":"orpo","beta":0.1}'),
        ("kto", '{"type":"kto","beta":0.1,"desirable_weight":1.0,"undesirable_weight":1.0}'),
        ("simpo", '{"type":"simpo","beta":2.0,"gamma":1.0}'),
        (
            "reinforcement",
            '{"type":"reinforcement","response_format":null,"loss_type":"importance_sampling",'
            '"num_generations":8,"max_completion_tokens":256,"epsilon":0.2,"epsilon_high":0.28,'
            '"eval_interval":null,"eval_samples":1,"grader":{"type":"string_check","name":"same",'
            '"input":"a","reference":"b","operation":"eq"},"audit_grader":null,"tools":null,"max_episode_steps":10,'
            '"mask_truncated":true,"scale_rewards":false,'
            '"compute_multiplier":1.0,"stop_on_audit":false,"reasoning_effort":"default"}',
        ),
        (
            "distillation",
            '{"type":"distillation","response_format":null,"loss_type":"importance_sampling",'
            '"num_generations":4,"max_completion_tokens":256,"epsilon":0.2,"epsilon_high":0.28,'
            '"eval_interval":null,"eval_samples":1,"teacher":"big"}',
        ),
    ],
)
def test_a_job_stores_what_checkpoints_of_older_releases_were_made_with(name: str, stored: str) -> None:
    """A checkpoint's fingerprint is a hash of these bytes."""
    objective = OBJECTIVES[name]
    options = objective.resolve_options(objective.requested(), BESIDE.get(name, {}))
    numbers = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(base_model="a", seed=1, hyperparameters=numbers, objective=options)
    assert f'"objective":{stored}' in spec.model_dump_json()
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@EACH
def test_auto_is_each_options_default_and_numbers_are_kept(objective: Objective) -> None:
    beside = BESIDE.get(objective.name, {})
    defaults = {name: field.default for name, field in objective.own_options.items()}
    numbers = [name for name, default in defaults.items() if not isinstance(default, str | bool)]
    automatic = objective.requested(**dict.fromkeys(numbers, "auto"))
    assert objective.resolve_options(automatic, beside) == options_of(objective)
    asked: dict[str, Any] = {name: 0.75 for name in numbers if isinstance(defaults[name], float)}
    resolved = objective.resolve_options(objective.requested(**asked), beside)
    assert resolved == options_of(objective, **asked)
    for name in objective.own_options:
        with pytest.raises(ValidationError):
            objective.requested(**{name: -1.0})


def test_a_text_or_a_boolean_is_its_default_unless_it_is_named() -> None:
    reinforcement = OBJECTIVES["reinforcement"]
    asked = {"loss_type": "cispo", "mask_truncated": False, "reasoning_effort": "low"}
    named = reinforcement.resolve_options(reinforcement.requested(**asked), {"grader": GRADER})
    assert named == options_of(reinforcement, **asked)
    for name in asked:
        with pytest.raises(ValidationError):
            reinforcement.requested(**{name: "auto"})


@pytest.mark.parametrize(("rows", "supervised", "preferences"), [(10, 10, 3), (60, 5, 3), (400, 3, 1)])
def test_auto_epochs_visit_300_rows_within_the_objectives_bounds(
    rows: int, supervised: int, preferences: int
) -> None:
    for objective in (one for one in OBJECTIVES.values() if not one.samples_answers):
        found = objective.resolve_hyperparameters(objective.requested(), rows)
        assert found.n_epochs == (supervised if objective.name == "supervised" else preferences)
        assert found.learning_rate_multiplier == (1.0 if objective.name == "supervised" else 0.1)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"), [(10, 4, 10), (60, 4, 2), (200, 10, 2), (480, 16, 1), (50_000, 16, 1)]
)
@pytest.mark.parametrize(("name", "multiplier"), [("reinforcement", 0.2), ("distillation", 0.5)])
def test_what_samples_its_answers_makes_thirty_steps_at_least_of_small_batches(
    rows: int, batch_size: int, epochs: int, name: str, multiplier: float
) -> None:
    objective = OBJECTIVES[name]
    found = objective.resolve_hyperparameters(objective.requested(), rows)
    assert (found.batch_size, found.n_epochs) == (batch_size, epochs)
    assert found.n_epochs * found.steps_per_epoch(rows) >= 30
    assert found.learning_rate_multiplier == multiplier
    large = objective.resolve_hyperparameters(objective.requested(batch_size=100), 480)
    assert large.n_epochs == 7, "as many steps with the client's own batch size"


@pytest.mark.parametrize(
    ("asked", "steps_per_epoch", "max_length", "expected"),
    [
        ({}, 100, 8192, (8, 256, 25)),
        ({}, 7, 100, (8, 50, 5)),
        ({"compute_multiplier": 0.5}, 100, 8192, (4, 256, 25)),
        ({"compute_multiplier": 0.0001}, 100, 8192, (2, 256, 25)),
        ({"compute_multiplier": 10.0}, 100, 8192, (64, 256, 25)),
        ({"compute_multiplier": 10.0, "num_generations": 3}, 100, 8192, (3, 256, 25)),
        ({"max_completion_tokens": 90, "eval_interval": 1}, 7, 100, (8, 90, 1)),
        ({"eval_interval": None}, 40, 8192, (8, 256, 10)),
    ],
)
def test_rules_give_the_numbers_that_a_request_for_reinforcement_leaves_open(
    asked: dict[str, Any], steps_per_epoch: int, max_length: int, expected: tuple[int, int, int]
) -> None:
    objective = OBJECTIVES["reinforcement"]
    resolved = objective.resolve_options(objective.requested(**asked), {"grader": GRADER})
    found = resolved.sized(steps_per_epoch, max_length)
    assert isinstance(found, Reinforcement)
    assert (found.num_generations, found.max_completion_tokens, found.eval_interval) == expected


@EACH
def test_a_request_takes_the_objective_and_says_in_words_what_it_is(
    objective: Objective, schemas: dict[str, Any]
) -> None:
    """The dashboard's form follows from these places of the document."""
    method = schemas["Method"]["properties"]
    assert objective.name in method["type"]["enum"]
    place = method[objective.name]
    assert place["description"] == objective.title
    options = schemas[place["anyOf"][0]["$ref"].rpartition("/")[2]]
    assert options["description"].split("\n\n") == [objective.description, f"Rows: {objective.rows}."]
    requested = schemas[options["properties"]["hyperparameters"]["anyOf"][0]["$ref"].rpartition("/")[2]]
    assert set(requested["properties"]) == set(objective.requested.model_fields)
    assert set(options["properties"]) == {"hyperparameters", *objective.options_beside}


@EACH
def test_a_job_shows_the_objective_with_its_options(objective: Objective) -> None:
    numbers = objective.resolve_hyperparameters(objective.requested(), 100).model_dump()
    options = options_of(objective).model_dump()
    shown = json.loads(method_view({"hyperparameters": numbers, "objective": options}).model_dump_json())
    assert shown.pop("type") == options.pop("type") == objective.name
    beside = {name: options.pop(name) for name in objective.options_beside}
    assert shown == {objective.name: {**beside, "hyperparameters": numbers | options}}


def test_the_command_line_offers_all_objectives() -> None:
    assert [str(choice) for choice in Method] == list(NAMES)


def test_the_page_on_datasets_names_each_objective_beside_its_kind() -> None:
    rows = re.findall(r"^\| (\w+) \| .* \| ([^|]*) \|$", DATASETS.read_text("utf-8"), re.MULTILINE)
    named = {name: kind for kind, names in rows if kind in KINDS for name in re.findall(r"`(\w+)`", names)}
    assert named == {objective.name: objective.dataset for objective in OBJECTIVES.values()}
