"""The API against its own OpenAPI document: the document describes each answer, to right and wrong requests.

Schemathesis sends requests that the document allows and requests that it forbids. It tests each operation,
and sequences in which the ids of one answer go into the next request. It opens no event streams, as it would
wait for their end; jobs/test_event_stream.py reads them.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import schemathesis
from hypothesis.internal.conjecture import providers
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.engine.run import PhaseName
from schemathesis.generation.meta import TestPhase
from schemathesis.hooks import HookContext
from schemathesis.schemas import BaseSchema

from core.roles import Role
from tests.fixtures.document.known import (
    ADAPTERS,
    ALIASES,
    BASE_MODELS,
    COMPLETIONS,
    COMPOSE,
    COMPOSITIONS,
    JOBS,
    ON_HUB,
    RUNS,
    SWEEPS,
    Known,
    make_known,
)
from tests.fixtures.document.right_requests import GRADERS, right_bodies, right_request
from tests.fixtures.outside.hub_of_models import hub_with
from tests.fixtures.service.api import Api, Tenant
from tests.fixtures.work.evals_api import EVALS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # seconds, of all requests together

PREVIEW = "/v1/files/{file_id}/preview"
TOKENIZE = "/v1/tokenize"


@dataclass(frozen=True)
class Effort:
    """How many requests are sent: examples of each operation, sequences of operations, and one of `stride`
    ways to vary an option of a job. At 0 no value at the edge of what an operation takes is tried.
    """

    examples: int
    sequences: int
    stride: int


SOME, MANY = Effort(1, 2, 0), Effort(3, 12, 32)
EVERY_WAY = 1  # all 3,600 of them, with `--every-step`

# Valid data may fail for reasons that the document cannot express: an id must exist, for example
UNDECIDABLE = ("positive_data_acceptance",)

# Without a server they are refused; tests/integration/api/chat, imports and previews have their answers
ANSWERED_BY_SERVERS = {
    f"POST {ADAPTERS}",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    f"POST {PREVIEW}",
    f"POST {TOKENIZE}",
}

# These paths are those of a file, an adapter or a base model too, so other methods are allowed there
ALSO_AN_ID = (
    "POST /v1/files/from_completions",
    f"POST {COMPOSE}",
    f"GET {COMPOSITIONS}",
    f"POST {BASE_MODELS}/check",
)
# A request with the `Idempotency-Key` of an earlier one gets its answer, also if the alias is deleted by then
REPEATED = "POST /v1/aliases"
EXPECTED = {
    *((operation, "Server error") for operation in ANSWERED_BY_SERVERS),
    *((operation, "Allow header mismatch") for operation in ALSO_AN_ID),
    (REPEATED, "Created resource not found"),
}


@dataclass
class Run:
    """Keeps the answers to the right requests, and collects the failures of all."""

    to_right_requests: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[Any, ...], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def take(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.ScenarioFinished):
            if event.phase is PhaseName.EXAMPLES:
                self._keep(event.recorder)
            self._judge(event.recorder)
        elif isinstance(event, events.NonFatalError):
            self.errors.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception

    def _keep(self, recorder: ScenarioRecorder) -> None:
        for case_id, interaction in recorder.interactions.items():
            case, response = recorder.cases[case_id], interaction.response
            if response is not None and case.parent_id is None:  # not one that a check has sent
                text = response.text if response.status_code >= 300 else ""
                self.to_right_requests[case.value.operation.label].append(f"{response.status_code} {text}")

    def _judge(self, recorder: ScenarioRecorder) -> None:
        for checks in recorder.checks.values():
            for found in (check.failure_info for check in checks if check.failure_info):
                failure = found.failure
                if (failure.operation, failure.title) in EXPECTED:
                    continue
                text = f"{failure.operation}: {failure.title}\n{failure.message}\n{found.code_sample}"
                self.failures.setdefault((failure.operation, failure.title), text)


@pytest.fixture(scope="module")
def roomy_api(api: Api) -> Iterator[Api]:
    """Return the API with room for all tasks of the requests, so that none is refused for those before it.

    No worker takes their imports, so it waits for one as briefly as an import allows.
    """
    with api.beside(project_open_tasks=100_000, chat_wait_seconds=5) as roomy:
        yield roomy


@pytest.fixture(scope="module")
def operator(roomy_api: Api) -> Tenant:
    return roomy_api.tenant("default", Role.ADMIN)


@pytest.fixture(scope="module", autouse=True)
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the API ask a hub that has one model."""
    with hub_with(ON_HUB, tmp_path_factory.mktemp("hub") / "published"):
        yield


@pytest.fixture(scope="module")
def known(roomy_api: Api, operator: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Known:
    return make_known(roomy_api, operator, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(
    scope="module",
    params=[pytest.param(SOME, id="some"), pytest.param(MANY, id="many", marks=pytest.mark.exhaustive)],
)
def effort(request: pytest.FixtureRequest) -> Effort:
    effort: Effort = request.param
    return replace(effort, stride=EVERY_WAY) if request.config.getoption("every_step") else effort


def configuration(roomy_api: Api, operator: Tenant, known: Known, effort: Effort) -> schemathesis.Config:
    dictionaries = {}

    def taken(values: dict[str, str]) -> dict[str, Any]:
        for value in values.values():
            dictionaries[value] = {"values": [value]}
        return {name: {"dictionary": value, "probability": 0.8} for name, value in values.items()}

    operations = [{"include-name": name, "parameters": taken(values)} for name, values in known.at.items()]
    return schemathesis.Config.from_dict(
        {
            "base-url": roomy_api.url,
            "auth": {"openapi": {"HTTPBearer": {"bearer": operator.key}}},
            "seed": 1,
            "continue-on-failure": True,
            "cache": {"enabled": False},
            "request-timeout": 60,
            "checks": {
                **{name: {"enabled": False} for name in UNDECIDABLE},
                # 413 too: Schemathesis makes very large bodies
                "negative_data_rejection": {"expected-statuses": ["4xx"]},
            },
            "generation": {
                "deterministic": True,
                "max-examples": effort.examples,
                "no-shrink": True,
                "with-security-parameters": False,  # each has a key, but those that test without one
                "allow-extra-parameters": False,
            },
            "phases": {
                "coverage": {"enabled": effort.stride > 0},
                "stateful": {"max-steps": 10, "generation": {"max-examples": effort.sequences}},
            },
            "parameters": taken(known.anywhere),
            "operations": [
                *operations,
                # This phase would try thousands of ways to nest graders and messages, and for a sweep each
                # option of a job again; the other phases try some
                *(
                    {"include-path-regex": f"^{path}", "phases": {"coverage": {"enabled": False}}}
                    for path in (
                        f"{GRADERS}/",
                        f"{EVALS}$",
                        f"{EVALS}/.*/runs$",
                        f"{SWEEPS}$",
                        "/v1/(chat/)?completions$",
                        f"{TOKENIZE}$",
                    )
                ),
                # A URL makes a string of every value of metadata[key], so no value is wrong
                *(
                    {
                        "include-path": path,
                        "include-method": "GET",
                        "checks": {"negative_data_rejection": {"enabled": False}},
                    }
                    for path in (JOBS, COMPLETIONS)
                ),
            ],
            "dictionaries": dictionaries,
        }
    )


@pytest.fixture(scope="module")
def document(roomy_api: Api, operator: Tenant, known: Known, effort: Effort) -> BaseSchema:
    config = configuration(roomy_api, operator, known, effort)
    openapi = with_examples(without_default(roomy_api.app.openapi()), known)
    document = schemathesis.openapi.from_dict(openapi, config=config)
    count = itertools.count()

    @document.hook
    def filter_case(_: Any, case: Case) -> bool:
        named = {str(value) for value in case.path_parameters.values()}
        spared = case.method != "GET" and known.spared & named
        left_out = spared or ends_what_others_need(case, known)
        return not left_out and (not is_one_of_many(case) or next(count) % effort.stride == 0)

    @document.hook
    def before_add_examples(context: HookContext, examples: list[Case]) -> None:
        assert context.operation is not None
        examples[:] = [right_request(context.operation, known)]

    return document


def ends_what_others_need(case: Case, known: Known) -> bool:
    """Return whether the request deletes a thing that other operations name, and not the one made for it."""
    own = known.at.get(case.operation.label, {})
    named = {f"path.{name}": str(value) for name, value in case.path_parameters.items()}
    return case.method == "DELETE" and any(
        named[place] == known.anywhere.get(place) != value for place, value in own.items() if place in named
    )


def is_one_of_many(case: Case) -> bool:
    """Return whether the request creates or estimates a job, or imports an adapter, with one option varied.

    There are thousands of ways to vary a job, and each import waits for a worker in vain.
    """
    return (
        case.operation.label in (f"POST {JOBS}", "POST /v1/fine_tuning/estimates", f"POST {ADAPTERS}")
        and case.meta is not None
        and case.meta.phase.name is TestPhase.COVERAGE
    )


def without_default(openapi: dict[str, Any]) -> dict[str, Any]:
    """Return the document without `default` answers, so that it must name each status of an operation."""
    strict = deepcopy(openapi)
    for operations in strict["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("default", None)
    return strict


def with_examples(openapi: dict[str, Any], known: Known) -> dict[str, Any]:
    """Return the document with examples of bodies that Schemathesis does not make up.

    Its sweeps name too few values to try, or the same value twice. Its aliases lead to a model and to several
    at the same time, or to none. Its prompts are messages and a text at the same time. Its criteria and rows
    do not fit together. A job's evaluation has the criteria of evals, so they are tried there alone.
    """
    evaluation = openapi["components"]["schemas"]["RequestedEvaluation"]["properties"]
    evaluation["criteria"] = {"type": "null"}
    bodies = right_bodies(known)
    for path in (SWEEPS, ALIASES, TOKENIZE, ADAPTERS, PREVIEW, COMPOSE, EVALS, RUNS):
        content = openapi["paths"][path]["post"]["requestBody"]["content"]
        content["application/json"]["example"] = bodies[path]
    return openapi


@pytest.fixture(scope="module")
def run(document: BaseSchema) -> Run:
    run = Run()
    with without_local_constants():
        for event in from_schema(document).execute():
            run.take(event)
    return run


@contextmanager
def without_local_constants() -> Iterator[None]:
    """Keep Hypothesis from mixing in the constants of all modules that the process has loaded.

    Otherwise the requests depend on the tests that ran before in the process, and on each line of the code.
    """
    none = providers.Constants()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_get_local_constants", lambda: none)
        providers.CONSTANTS_CACHE.cache.clear()
        yield
    providers.CONSTANTS_CACHE.cache.clear()


def test_no_answer_breaks_the_document(run: Run) -> None:
    assert not run.errors
    assert not run.failures, "\n\n".join(run.failures.values())


def test_every_operation_was_met_by_data_that_it_takes(run: Run, document: BaseSchema) -> None:
    asked = {operation.ok().label for operation in document.get_all_operations() if isinstance(operation, Ok)}
    assert set(run.to_right_requests) == asked
    expected = {operation: "503" if operation in ANSWERED_BY_SERVERS else "2" for operation in asked}
    refused = [
        f"{operation}: {answer}"
        for operation, answers in run.to_right_requests.items()
        for answer in answers
        if not answer.startswith(expected[operation])
    ]
    assert not refused, "\n".join(refused)
