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
from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES

DATASETS = Path(__file__).parents[4] / "docs" / "datasets.md"
EACH = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=NAMES)


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
    ],
)
def test_a_job_stores_what_checkpoints_of_older_releases_were_made_with(name: str, stored: str) -> None:
    """A checkpoint's fingerprint is a hash of these bytes."""
    objective = OBJECTIVES[name]
    options = objective.resolve_options(objective.requested())
    numbers = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(base_model="a", seed=1, hyperparameters=numbers, objective=options)
    assert f'"objective":{stored}' in spec.model_dump_json()
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@EACH
def test_auto_is_each_options_default_and_numbers_are_kept(objective: Objective) -> None:
    automatic = objective.requested(**dict.fromkeys(objective.own_options, "auto"))
    assert objective.resolve_options(automatic) == objective.options()
    asked: dict[str, Any] = dict.fromkeys(objective.own_options, 1.25)
    assert objective.resolve_options(objective.requested(**asked)) == objective.options(**asked)
    for name in objective.own_options:
        with pytest.raises(ValidationError):
            objective.requested(**{name: -1.0})


@pytest.mark.parametrize(("rows", "supervised", "preferences"), [(10, 10, 3), (60, 5, 3), (400, 3, 1)])
def test_auto_epochs_visit_300_rows_within_the_objectives_bounds(
    rows: int, supervised: int, preferences: int
) -> None:
    for objective in OBJECTIVES.values():
        found = objective.resolve_hyperparameters(objective.requested(), rows)
        assert found.n_epochs == (supervised if objective.name == "supervised" else preferences)
        assert found.learning_rate_multiplier == (1.0 if objective.name == "supervised" else 0.1)


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


@EACH
def test_a_job_shows_the_objective_with_its_options(objective: Objective) -> None:
    numbers = objective.resolve_hyperparameters(objective.requested(), 100).model_dump()
    options = objective.options().model_dump()
    shown = json.loads(method_view({"hyperparameters": numbers, "objective": options}).model_dump_json())
    assert shown.pop("type") == options.pop("type") == objective.name
    assert shown == {objective.name: {"hyperparameters": numbers | options}}


def test_the_command_line_offers_all_objectives() -> None:
    assert [str(choice) for choice in Method] == list(NAMES)


def test_the_page_on_datasets_names_each_objective_beside_its_kind() -> None:
    rows = re.findall(r"^\| (\w+) \| .* \| ([^|]*) \|$", DATASETS.read_text("utf-8"), re.MULTILINE)
    named = {name: kind for kind, names in rows if kind in KINDS for name in re.findall(r"`(\w+)`", names)}
    assert named == {objective.name: objective.dataset for objective in OBJECTIVES.values()}
