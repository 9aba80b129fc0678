"""Begins imports, which are tasks, and says what came of them. Nothing here commits."""

from types import MappingProxyType

from sqlalchemy.orm import Session

from api.adapters import service as adapters
from api.files import queries as files
from api.files.service import names_no_file
from api.http.errors import InternalError
from api.http.idempotency import found_by
from api.imports.schemas import ImportAdapter
from api.work.creation import RequestContext
from core.access.idempotency import Answer, answer_at_end, once
from core.errors import AppError, InvalidRequest, QuotaExceeded, TooLarge, Unavailable
from core.imports import ImportRequest
from core.tables import ApiKey, Task
from core.work import client as tasks
from core.work.kinds import IMPORT


class ModelUnavailable(Unavailable):
    """The base model cannot be loaded, and waiting does not help: the operator must act."""

    code = "model_unavailable"
    headers = MappingProxyType({"x-should-retry": "false"})


def begin(session: Session, context: RequestContext, asked: ImportAdapter) -> Answer:
    """Begin the import, and return its `task_id`; or return the answer to an earlier attempt.

    An attempt at an import that has failed, or was cancelled, begins a new one. Raises InvalidRequest,
    TooLarge and RateLimited.
    """
    caller, most_open = context.caller, context.settings.project_open_tasks

    def create() -> Answer:
        request = _checked(session, context, asked)
        return {"task_id": tasks.create(session, caller.project_id, IMPORT, request, most_open).id}

    is_there = found_by(adapters.get, caller.project_id)

    def stands(session: Session, answer: Answer) -> bool:
        return "task_id" in answer or is_there(session, answer)

    return once(session, context.attempt, asked.model_dump_json(), create, stands, failed=_has_failed)


def end(session: Session, context: RequestContext, asked: ImportAdapter, task_id: str) -> Answer | None:
    """Return the adapter that an import which has ended has made. None is returned if it was cancelled.

    From now on, it is the answer to later attempts too. Raises AppError if the import has failed.
    """
    task = session.get_one(Task, task_id)
    if task.error is not None:
        raise _refusal(**task.error)
    if task.adapter_id is None:
        return None
    adapter = adapters.get(session, context.caller.project_id, task.adapter_id)
    made = adapters.describe(adapter).model_dump(mode="json")
    answer_at_end(session, context.attempt, asked.model_dump_json(), {"task_id": task_id}, made)
    return made


def _checked(session: Session, context: RequestContext, asked: ImportAdapter) -> ImportRequest:
    caller, catalog, most = context.caller, context.catalog, context.settings.max_adapter_bytes
    if catalog.get(asked.base_model) is None:
        raise InvalidRequest(
            f"The model {asked.base_model[:128]!r} is not a base model of this server. On offer: "
            f"{', '.join(entry.id for entry in catalog)}.",
            code="model_not_available",
            param="base_model",
        )
    file = files.find(session, caller.project_id, asked.file)
    if file is None:
        raise names_no_file(asked.file, "file")
    if file.bytes > most:
        raise TooLarge(
            f"The file has {file.bytes:,} bytes; an adapter may have {most:,} on this server.",
            code="adapter_too_large",
            param="file",
        )
    key = session.get(ApiKey, caller.key_id) if caller.key_id else None
    return ImportRequest(
        object_key=file.object_key,
        sha256=file.sha256,
        filename=file.filename,
        key_id=caller.key_id,
        key_name=key.name if key else None,
        request_id=caller.request_id,
        **asked.model_dump(exclude={"file"}),
    )


def _has_failed(session: Session, answer: Answer) -> bool:
    """Return whether nothing comes of the import that an earlier attempt has begun."""
    if "task_id" not in answer:
        return False
    task = session.get(Task, answer["task_id"])
    return task is None or task.deleted_at is not None or task.status in ("failed", "cancelled")


def _refusal(code: str, message: str, param: str | None) -> AppError:
    """Return the error of a task as that of the request that waited for it."""
    match code:
        case "insufficient_quota":
            return QuotaExceeded(message, param="file")
        case "model_unavailable":
            return ModelUnavailable(message)
        case "unavailable" | "worker_lost":
            return Unavailable(f"{message} Nothing was imported; try again later.", code=code)
        case "internal_error":
            return InternalError(message)
        case _:
            return InvalidRequest(message, code=code, param=param)
