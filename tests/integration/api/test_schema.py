"""The API against its own OpenAPI document: the document describes each answer, to right and wrong requests.

Schemathesis sends requests that the document allows and requests that it forbids. It tests each operation,
and sequences in which the ids of one answer go into the next request. It opens no event streams, as it would
wait for their end; jobs/test_event_stream.py reads them.
"""

import itertools
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import Case
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.generation.meta import TestPhase
from schemathesis.schemas import BaseSchema

from core.roles import Role
from tests.fixtures.api import BASE_MODEL, Api, Tenant
from tests.fixtures.completions import allow, store
from tests.fixtures.evals_api import EVAL, EVALS, ROWS, finish_run, judged, make_eval, make_run
from tests.fixtures.exports import finish_export
from tests.fixtures.graders import CHECK

pytestmark = pytest.mark.slow

ADAPTERS = "/v1/adapters"
EXPORTS = f"{ADAPTERS}/{{adapter_id}}/exports"
COMPOSE, COMPOSITIONS = f"{ADAPTERS}/compose", f"{ADAPTERS}/compositions"
ALIASES = "/v1/aliases"
COMPLETIONS = "/v1/chat/completions"
GRADERS = "/v1/fine_tuning/alpha/graders"
ONE_EVAL = f"{EVALS}/{{eval_id}}"
RUNS = f"{ONE_EVAL}/runs"
JOBS = "/v1/fine_tuning/jobs"
SWEEPS = "/v1/fine_tuning/sweeps"
TOKENIZE = "/v1/tokenize"
UPLOADS = "/v1/uploads"
WEBHOOKS = "/v1/webhook_endpoints"

# `make test` tries one of so many ways to vary an option of a job; `--every-step` tries all 3,600
STRIDE = 8

# Valid data may fail for reasons that the document cannot express: an id must exist, for example
UNDECIDABLE = ("positive_data_acceptance",)

# Without a server they are refused; tests/integration/api/chat and imports have their answers
ANSWERED_BY_SERVERS = {
    f"POST {ADAPTERS}",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    f"POST {TOKENIZE}",
}

# These paths are those of a file or an adapter too, so other methods are allowed there
ALSO_AN_ID = ("POST /v1/files/from_completions", f"POST {COMPOSE}", f"GET {COMPOSITIONS}")
# A request with the `Idempotency-Key` of an earlier one gets its answer, also if the alias is deleted by then
REPEATED = "POST /v1/aliases"
EXPECTED = {
    *((operation, "Server error") for operation in ANSWERED_BY_SERVERS),
    *((operation, "Allow header mismatch") for operation in ALSO_AN_ID),
    (REPEATED, "Created resource not found"),
}


@dataclass
class Run:
    """Counts the answers by operation and status, and collects the failures."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[tuple[Any, ...], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def take(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.ScenarioFinished):
            self._count(event.recorder)
            self._judge(event.recorder)
        elif isinstance(event, events.NonFatalError):
            self.errors.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception

    def _count(self, recorder: ScenarioRecorder) -> None:
        for case_id, interaction in recorder.interactions.items():
            if interaction.response is not None:
                operation = recorder.cases[case_id].value.operation.label
                self.answers[operation, interaction.response.status_code] += 1

    def _judge(self, recorder: ScenarioRecorder) -> None:
        for checks in recorder.checks.values():
            for found in (check.failure_info for check in checks if check.failure_info):
                failure = found.failure
                if (failure.operation, failure.title) in EXPECTED:
                    continue
                text = f"{failure.operation}: {failure.title}\n{failure.message}\n{found.code_sample}"
                self.failures.setdefault((failure.operation, failure.title), text)


@dataclass
class Known:
    """Values for requests. Values that Schemathesis makes up would never match a thing that exists.

    The keys are place and name, as in `path.file_id`. Some operations have values of their own in `at`, as
    one request may end the thing. `spared` are values that no request may change, since others need them.
    """

    anywhere: dict[str, str]
    at: dict[str, dict[str, str]]
    spared: set[str]


@pytest.fixture(scope="module")
def operator(api: Api) -> Tenant:
    return api.tenant("default", Role.ADMIN)


@pytest.fixture(scope="module")
def known(api: Api, operator: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Make one of each thing that a path or a body may name."""
    folder: Path = tmp_path_factory.mktemp("adapter")
    (folder / "adapter_config.json").write_text("{}")
    http, other = operator.http, api.tenant(role=Role.ADMIN)
    file_id, url = operator.upload(), f"{api.url}/healthz"

    def trained() -> dict[str, Any]:
        lease = api.claim(operator.create_job(training_file=file_id)["id"])
        api.checkpoint(lease, 3)
        api.finish(lease, folder)
        return operator.job(lease.job_id)

    wanted = {"name": "x", "url": url, "event_types": ["fine_tuning.job.succeeded"]}
    webhook_id, ended_id = (http.post(WEBHOOKS, json=wanted).json()["id"] for _ in range(2))
    job, deleted = trained(), trained()["adapter_id"]
    exported = trained()["adapter_id"]
    exports = f"{ADAPTERS}/{exported}/exports"
    http.post(f"{ADAPTERS}/{exported}/portability")  # later, too many tasks may be unfinished
    made, removed, stopped = (http.post(exports, json={"format": "lora"}).json()["id"] for _ in range(3))
    for export_id in (made, removed):
        finish_export(api, folder, export_id)
    one = {"adapters": [{"adapter": exported}]}
    seen, left, ended = (http.post(COMPOSE, json=one).json()["id"] for _ in range(3))
    http.post(f"{COMPOSITIONS}/{ended}/cancel")
    model, shared = (trained()["fine_tuned_model"] for _ in range(2))
    queued, running, paused = (operator.create_job(training_file=file_id)["id"] for _ in range(3))
    http.post(f"{JOBS}/{paused}/pause")
    checked, unchecked = (http.post(f"/v1/files/{file_id}/check").json()["id"] for _ in range(2))
    converted, unconverted = (http.post(f"/v1/files/{file_id}/convert").json()["id"] for _ in range(2))
    swept = {"model": BASE_MODEL, "training_file": file_id, "validation_file": file_id}
    sweep, cancelled = (
        http.post(SWEEPS, json={**swept, "parameters": {"adapter.r": [4, 8]}}).json()["id"] for _ in range(2)
    )
    announced = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    upload_id = http.post(UPLOADS, json=announced).json()["id"]
    open_id = http.post(UPLOADS, json={**announced, "bytes": 1024**2}).json()["id"]
    part_id = http.post(f"{UPLOADS}/{upload_id}/parts", files={"data": b"x"}).json()["id"]
    permissions = operator.openai.fine_tuning.checkpoints.permissions
    for alias in ("kept", "moved", "deleted"):
        for destination in (BASE_MODEL, "small-model"):
            http.post(ALIASES, json={"name": alias, "model": destination})
    allow(operator)
    completion_id, deleted_id = store(operator), store(operator)
    assert completion_id is not None
    assert deleted_id is not None
    eval_id, gone = make_eval(operator), make_eval(operator)
    judged_run, ended_run, waiting_run = (make_run(operator, eval_id) for _ in range(3))
    for run_id in (judged_run, ended_run):
        finish_run(api, run_id, [judged(0), judged(1, error="model_failed")])
    link = http.post("/v1/session/links").json()["path"].partition("#link=")[2]
    return Known(
        {
            "path.adapter_id": job["adapter_id"],
            "path.alias": "kept",
            "path.completion_id": completion_id,
            "path.composition_id": seen,
            "path.check_id": checked,
            "path.conversion_id": converted,
            "path.api_key_id": other.key.split("_")[1],
            "path.eval_id": eval_id,
            "path.run_id": judged_run,
            "query.base": judged_run,
            "query.tuned": judged_run,
            "query.criterion": CHECK["name"],
            "path.output_item_id": f"{judged_run}-0",
            "path.delivery_id": http.get(f"{WEBHOOKS}/{webhook_id}/deliveries").json()["data"][0]["id"],
            "path.file_id": file_id,
            "path.fine_tuned_model_checkpoint": shared,
            "path.fine_tuning_job_id": job["id"],
            "path.method_type": "lora",
            "path.model": model,
            "path.name": "adapter_config.json",
            "path.permission_id": permissions.create(shared, project_ids=[other.project_id]).data[0].id,
            "path.project_id": other.project_id,
            "path.sweep_id": sweep,
            "path.webhook_endpoint_id": webhook_id,
            "body.adapters[*].adapter": exported,
            "body.model": BASE_MODEL,
            "body.project_ids[*]": other.project_id,
            "body.training_file": file_id,
            "body.validation_file": file_id,
            "body.url": url,
        },
        {
            f"DELETE {ADAPTERS}/{{adapter_id}}": {"path.adapter_id": deleted},
            **{
                operation: {"path.adapter_id": exported, "path.export_id": export_id}
                for operation, export_id in (
                    (f"POST {EXPORTS}", made),
                    (f"GET {EXPORTS}", made),
                    (f"GET {EXPORTS}/{{export_id}}", made),
                    (f"GET {EXPORTS}/{{export_id}}/content", made),
                    (f"GET {EXPORTS}/{{export_id}}/files/{{name}}", made),
                    (f"POST {EXPORTS}/{{export_id}}/cancel", stopped),
                    (f"DELETE {EXPORTS}/{{export_id}}", removed),
                )
            },
            "POST /v1/files/{file_id}/check": {"body.validation_file": operator.upload()},
            "POST /v1/files/{file_id}/checks/{check_id}/cancel": {"path.check_id": unchecked},
            "POST /v1/files/{file_id}/conversions/{conversion_id}/cancel": {
                "path.conversion_id": unconverted
            },
            f"POST {ADAPTERS}/{{adapter_id}}/portability": {"path.adapter_id": exported},
            f"POST {ADAPTERS}/{{adapter_id}}/portability/cancel": {"path.adapter_id": exported},
            f"DELETE {ONE_EVAL}": {"path.eval_id": gone},
            f"POST {RUNS}/{{run_id}}/cancel": {"path.eval_id": eval_id, "path.run_id": waiting_run},
            f"DELETE {RUNS}/{{run_id}}": {"path.eval_id": eval_id, "path.run_id": ended_run},
            f"POST {COMPOSITIONS}/{{composition_id}}/cancel": {"path.composition_id": left},
            f"DELETE {COMPOSITIONS}/{{composition_id}}": {"path.composition_id": ended},
            f"POST {ALIASES}/{{alias}}/back": {"path.alias": "moved"},
            f"DELETE {ALIASES}/{{alias}}": {"path.alias": "deleted"},
            f"DELETE {COMPLETIONS}/{{completion_id}}": {"path.completion_id": deleted_id},
            f"POST {JOBS}/{{fine_tuning_job_id}}/cancel": {"path.fine_tuning_job_id": queued},
            f"POST {JOBS}/{{fine_tuning_job_id}}/pause": {"path.fine_tuning_job_id": running},
            f"POST {JOBS}/{{fine_tuning_job_id}}/resume": {"path.fine_tuning_job_id": paused},
            f"POST {SWEEPS}/{{sweep_id}}/cancel": {"path.sweep_id": cancelled},
            f"DELETE {WEBHOOKS}/{{webhook_endpoint_id}}": {"path.webhook_endpoint_id": ended_id},
            f"POST {UPLOADS}/{{upload_id}}/parts": {"path.upload_id": open_id},
            f"POST {UPLOADS}/{{upload_id}}/complete": {
                "path.upload_id": upload_id,
                "body.part_ids[*]": part_id,
            },
            "POST /v1/sign_in": {"body.api_key": operator.key, "header.x-tunery-dashboard": "1"},
            "POST /v1/sign_in/link": {"body.link": link, "header.x-tunery-dashboard": "1"},
        },
        spared={operator.project_id, operator.key.split("_")[1], job["adapter_id"]},
    )


def configuration(api: Api, operator: Tenant, known: Known) -> schemathesis.Config:
    dictionaries = {}

    def taken(values: dict[str, str]) -> dict[str, Any]:
        for value in values.values():
            dictionaries[value] = {"values": [value]}
        return {name: {"dictionary": value, "probability": 0.8} for name, value in values.items()}

    operations = [{"include-name": name, "parameters": taken(values)} for name, values in known.at.items()]
    return schemathesis.Config.from_dict(
        {
            "base-url": api.url,
            "auth": {"openapi": {"HTTPBearer": {"bearer": operator.key}}},
            "seed": 1,
            "continue-on-failure": True,
            "cache": {"enabled": False},
            "checks": {
                **{name: {"enabled": False} for name in UNDECIDABLE},
                # 413 too: Schemathesis makes very large bodies
                "negative_data_rejection": {"expected-statuses": ["4xx"]},
            },
            "generation": {
                "deterministic": True,
                "max-examples": 10,
                "no-shrink": True,
                "with-security-parameters": False,  # each has a key, but those that test without one
                "allow-extra-parameters": False,
            },
            "phases": {"stateful": {"max-steps": 10, "generation": {"max-examples": 50}}},
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
def document(api: Api, operator: Tenant, known: Known, pytestconfig: pytest.Config) -> BaseSchema:
    config = configuration(api, operator, known)
    openapi = with_examples(without_default(api.app.openapi()), known)
    document = schemathesis.openapi.from_dict(openapi, config=config)
    stride = 1 if pytestconfig.getoption("every_step") else STRIDE
    count = itertools.count()

    @document.hook
    def filter_case(_: Any, case: Case) -> bool:
        named = {str(value) for value in case.path_parameters.values()}
        spared = case.method != "GET" and known.spared & named
        left_out = spared or ends_what_others_need(case, known)
        return not left_out and (not varies_a_job(case) or next(count) % stride == 0)

    return document


def ends_what_others_need(case: Case, known: Known) -> bool:
    """Return whether the request deletes a thing that other operations name, and not the one made for it."""
    own = known.at.get(case.operation.label, {})
    named = {f"path.{name}": str(value) for name, value in case.path_parameters.items()}
    return case.method == "DELETE" and any(
        named[place] == known.anywhere.get(place) != value for place, value in own.items() if place in named
    )


def varies_a_job(case: Case) -> bool:
    """Return whether the request creates a job with one option varied."""
    return (
        case.operation.label == f"POST {JOBS}"
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
    files = {name: known.anywhere[f"body.{name}"] for name in ("training_file", "validation_file")}
    evaluation = openapi["components"]["schemas"]["RequestedEvaluation"]["properties"]
    evaluation["criteria"] = {"type": "null"}
    sweep = {"model": BASE_MODEL, **files, "parameters": {"adapter.r": [4, 8]}}
    alias = {"name": "made", "model": BASE_MODEL}
    prompt = {"model": BASE_MODEL, "prompt": "Hello"}
    imported = {"base_model": BASE_MODEL, "file": known.anywhere["path.file_id"]}
    composed = {"adapters": [{"adapter": known.anywhere["body.adapters[*].adapter"], "weight": 0.5}]}
    examples = {
        SWEEPS: sweep,
        ALIASES: alias,
        TOKENIZE: prompt,
        ADAPTERS: imported,
        COMPOSE: composed,
        EVALS: EVAL,
        RUNS: {"data_source": ROWS},
    }
    for path, example in examples.items():
        openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"] = example
    return openapi


@pytest.fixture(scope="module")
def run(document: BaseSchema) -> Run:
    run = Run()
    for event in from_schema(document).execute():
        run.take(event)
    return run


def test_no_answer_breaks_the_document(run: Run) -> None:
    assert not run.errors
    assert not run.failures, "\n\n".join(run.failures.values())


def test_every_operation_was_met_by_data_that_it_takes(run: Run, document: BaseSchema) -> None:
    operations = {result.ok().label for result in document.get_all_operations()}
    succeeded = {operation for operation, status in run.answers if status < 300}
    assert operations - succeeded == ANSWERED_BY_SERVERS
    for operation in ANSWERED_BY_SERVERS:
        assert run.answers[operation, 503], "no request was right"
