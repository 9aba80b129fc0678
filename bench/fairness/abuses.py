"""The kinds of abuse: each is what one project sends again and again, from several connections at once."""

import json
import random
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fairness.tenants import Tenant

LONG_PROMPT = 400  # words, of about three tokens each
ROWS = 400
UNREAD_SECONDS = 20.0
LEAVE_SECONDS = 0.3


Prepare = Callable[[Tenant, Path], Any]
Send = Callable[[Tenant, Any], int]


@dataclass(frozen=True)
class Abuse:
    """A kind of abuse, which a project does from several connections.

    `prepare` gets the path of an adapter's zip, and returns what the others get. `send` sends one request and
    returns the status of its answer. `tasks` returns the path that lists the tasks of these requests.
    """

    name: str
    connections: int
    prepare: Prepare
    send: Send
    tasks: Callable[[Any], str] | None = None

    def end(self, tenant: Tenant, prepared: Any) -> None:
        """Cancel the tasks that have not ended."""
        path = self.tasks and self.tasks(prepared)
        for task in tenant.http.get(path).json()["data"] if path else ():
            tenant.http.post(f"{path}/{task['id']}/cancel")


ABUSES: dict[str, Abuse] = {}


def _nothing(_tenant: Tenant, _adapter: Path) -> None:
    """Prepare nothing."""


def abuse(
    name: str,
    connections: int = 8,
    prepare: Prepare = _nothing,
    tasks: Callable[[Any], str] | None = None,
) -> Callable[[Send], Send]:
    """Register the function as the requests of an abuse."""

    def add(send: Send) -> Send:
        ABUSES[name] = Abuse(name, connections, prepare, send, tasks)
        return send

    return add


def words(count: int) -> str:
    """Return random words, so that no two prompts begin alike."""
    return " ".join("".join(random.choices(string.ascii_lowercase, k=4)) for _ in range(count))


def chat_rows(count: int) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": words(8)}, {"role": "assistant", "content": words(8)}]}
        for _ in range(count)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@abuse("long prompts")
def long_prompt(tenant: Tenant, _: Any) -> int:
    messages = [{"role": "user", "content": words(LONG_PROMPT)}]
    return _status(
        tenant, "/chat/completions", {"model": tenant.model, "messages": messages, "max_tokens": 1}
    )


@abuse("64 prompts in a request", connections=2)
def many_sequences(tenant: Tenant, _: Any) -> int:
    prompts = [words(20) for _ in range(64)]
    asked = {"model": tenant.model, "prompt": prompts, "max_tokens": 200, "ignore_eos": True}
    return _status(tenant, "/completions", asked)


@abuse("log-probabilities", connections=4)
def log_probabilities(tenant: Tenant, _: Any) -> int:
    messages = [{"role": "user", "content": words(20)}]
    asked = {"logprobs": True, "top_logprobs": 20, "n": 2, "max_tokens": 200, "ignore_eos": True}
    return _status(tenant, "/chat/completions", {"model": tenant.model, "messages": messages, **asked})


@abuse("streams that nobody reads", connections=16)
def unread_stream(tenant: Tenant, _: Any) -> int:
    return _unread(tenant, stream=True)


@abuse("whole answers that nobody reads", connections=4)
def unread_answer(tenant: Tenant, _: Any) -> int:
    return _unread(tenant, stream=False)


def _unread(tenant: Tenant, *, stream: bool) -> int:
    """Ask for an answer that is larger than the connection's buffers, and read nothing of it for a while."""
    large = {"max_tokens": 1000, "ignore_eos": True, "logprobs": True, "top_logprobs": 20}
    messages = [{"role": "user", "content": words(20)}]
    asked = {"model": tenant.model, "messages": messages, "stream": stream, **large}
    with tenant.http.stream("POST", "/chat/completions", json=asked) as answer:
        if answer.is_success:
            time.sleep(UNREAD_SECONDS)
        return answer.status_code


@abuse("clients that leave")
def leave(tenant: Tenant, _: Any) -> int:
    asked = {"model": tenant.model, "prompt": [words(300) for _ in range(8)], "max_tokens": 200}
    return tenant.http.post("/completions", json=asked, timeout=LEAVE_SECONDS).status_code


@abuse("100,000 words to tokenize", connections=4)
def tokenize(tenant: Tenant, _: Any) -> int:
    return _status(tenant, "/tokenize", {"model": tenant.model, "prompt": words(100_000)})


def _eval_of_rows(tenant: Tenant, _adapter: Path) -> dict[str, str]:
    grader = {"type": "string_check", "name": "same", "operation": "eq"}
    made = tenant.post(
        "/evals",
        json={
            "data_source_config": {"type": "custom", "item_schema": {"type": "object"}},
            "testing_criteria": [{**grader, "input": "{{item.text}}", "reference": "{{sample.output_text}}"}],
        },
    )
    rows = b"".join(json.dumps({"item": {"text": words(200)}}).encode() + b"\n" for _ in range(ROWS))
    return {"eval": made["id"], "file": tenant.upload("items.jsonl", rows, "evals")}


@abuse("evals", 2, _eval_of_rows, lambda prepared: _runs(prepared))
def eval_run(tenant: Tenant, prepared: dict[str, str]) -> int:
    message = {"role": "user", "content": "{{item.text}}"}
    source = {
        "type": "completions",
        "model": tenant.model,
        "source": {"type": "file_id", "id": prepared["file"]},
        "input_messages": {"type": "template", "template": [message]},
        "sampling_params": {"max_completion_tokens": 32},
    }
    return _status(tenant, _runs(prepared), {"data_source": source})


def _runs(prepared: dict[str, str]) -> str:
    return f"/evals/{prepared['eval']}/runs"


def _file_of_rows(tenant: Tenant, _adapter: Path) -> str:
    return tenant.upload("rows.jsonl", chat_rows(ROWS))


@abuse("previews", prepare=_file_of_rows)
def preview(tenant: Tenant, file: str) -> int:
    return _status(tenant, f"/files/{file}/preview", {"model": tenant.model, "lines": [ROWS - 1, ROWS]})


def _archive(tenant: Tenant, adapter: Path) -> str:
    return tenant.upload("adapter.zip", adapter.read_bytes(), "user_data")


@abuse("imports", prepare=_archive)
def import_adapter(tenant: Tenant, file: str) -> int:
    return _status(tenant, "/adapters", {"file": file, "base_model": tenant.model})


def _two_adapters(tenant: Tenant, adapter: Path) -> dict[str, Any]:
    file = _archive(tenant, adapter)
    asked = {"file": file, "base_model": tenant.model}
    made = [tenant.post("/adapters", json=asked)["id"] for _ in range(2)]
    return {"adapters": made, "rows": _file_of_rows(tenant, adapter)}


@abuse("weight searches", 2, _two_adapters, lambda _: "/adapters/compositions")
def weight_search(tenant: Tenant, prepared: dict[str, Any]) -> int:
    adapters = [{"adapter": each} for each in prepared["adapters"]]
    search = {"files": [prepared["rows"]], "rows": 64, "trials": 32}
    return _status(tenant, "/adapters/compose", {"adapters": adapters, "search": search})


def _status(tenant: Tenant, path: str, body: dict[str, Any]) -> int:
    return tenant.http.post(path, json=body).status_code
