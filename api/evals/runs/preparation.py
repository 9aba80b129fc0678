"""Prepares a run: finds the models and the rows that the request names, and checks the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.eval_requests.check import check_input_messages
from api.eval_requests.data_source_configs import DATA_SOURCE_CONFIG, required_fields
from api.evals import service as evals
from api.evals.runs.rows import LOOKED_AT, RowRules, check_inline, check_rows
from api.evals.runs.schemas import CreateRun
from api.evals.schemas import CRITERIA
from api.files import queries as files
from api.files.service import names_no_file
from api.models.chat_models import ChatModel
from api.models.grader_models import Find, finder, served_by_graders
from api.stored_completions import queries as completions
from api.stored_completions.queries import Selection
from core.catalog import Catalog
from core.errors import InvalidRequest
from core.evals.criteria import OF_THE_ROWS_ANSWER, ONCE_A_ROW, Criterion
from core.evals.data_sources import (
    CompletionsDataSource,
    DataSource,
    FileContentSource,
    FileSource,
    JsonlDataSource,
    StoredCompletionsSource,
    TemplateInput,
)
from core.evals.run_request import RunRequest
from core.serving.schemas.chat import ChatRequest
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import File

DATA_SOURCE = "data_source"
SOURCE = f"{DATA_SOURCE}.source"
ASK = {"role": "user", "content": ""}


@dataclass(frozen=True)
class Prepared:
    """A run that may be created once the rows of its `file` are checked, if it has one."""

    request: RunRequest
    rules: RowRules
    file: File | None


def prepare(
    session: Session, project_id: str, catalog: Catalog, settings: Settings, eval_id: str, asked: CreateRun
) -> Prepared:
    """Return the run. Raises NotFound for the eval, and InvalidRequest."""
    row = evals.get(session, project_id, eval_id)
    criteria, source = CRITERIA.validate_python(row.criteria), asked.data_source
    find = finder(session, project_id, catalog, key=eval_id)
    model = _model(find, criteria, source)
    fields = required_fields(DATA_SOURCE_CONFIG.validate_python(row.data_source_config))
    rules = RowRules.of(criteria, source, fields)
    name = model.name if model else None
    request = RunRequest(
        name=asked.name or name or row.name,
        metadata=asked.metadata,
        data_source=source,
        model=name,
        served=model.served.as_sent() if model else None,
        grader_models=served_by_graders(find, criteria),
    )
    return Prepared(request, rules, _checked_rows(session, project_id, settings, source, rules))


def check_file(store: ObjectStore, settings: Settings, prepared: Prepared) -> None:
    """Check the first rows of the run's file, and their number where it is known. Raises InvalidRequest.

    The process of the run refuses too many rows too.
    """
    file, source = prepared.file, prepared.request.data_source.source
    if file is None or not isinstance(source, FileSource):
        return
    most = _most_rows(settings, prepared.request.data_source)
    try:
        chunks = store.read(file.object_key)
    except FileNotFoundError as error:
        raise names_no_file(file.id, f"{SOURCE}.id") from error
    most_read = min(LOOKED_AT, source.limit or LOOKED_AT)
    found = check_rows(chunks, prepared.rules, f"{SOURCE}.id", settings.longest_row_bytes, most_read)
    if source.limit is None and (file.rows or found) > most:
        raise _too_many(most, "The file has more. Set 'data_source.source.limit'")


def _most_rows(settings: Settings, asked: DataSource) -> int:
    """Return how many rows a run may have: each counts as often as it is sampled."""
    return settings.max_eval_rows // asked.samples_per_row


def _model(find: Find, criteria: Sequence[Criterion], source: DataSource) -> ChatModel | None:
    """Return the model that the run judges; None if the rows have their samples. Raises InvalidRequest."""
    of_answers = next((each for each in criteria if each.type in OF_THE_ROWS_ANSWER), None)
    if isinstance(source, JsonlDataSource):
        if of_answers is None:
            return None
        raise InvalidRequest(
            f"The criterion '{of_answers.name}' judges a model, and this data source names none. Use the "
            "type 'completions'.",
            code="invalid_value",
            param=f"{DATA_SOURCE}.type",
        )
    _check_how_to_ask(source)
    _check_samples(criteria, source)
    if source.model is not None:
        return find(source.model, f"{DATA_SOURCE}.model")
    raise InvalidRequest(
        "Missing required parameter: 'data_source.model', the model that the run judges.",
        code="missing_required_parameter",
        param=f"{DATA_SOURCE}.model",
    )


def _check_how_to_ask(source: CompletionsDataSource) -> None:
    """Check the messages and the parameters with which a model is asked. Raises InvalidRequest."""
    if isinstance(source.input_messages, TemplateInput):
        check_input_messages(source.input_messages.template, f"{DATA_SOURCE}.input_messages.template")
    if source.sampling_params is None:
        return
    given = source.sampling_params.model_dump(exclude_none=True, exclude={"n"})  # each sample is a chat
    try:
        ChatRequest.model_validate({"model": "any", "messages": [ASK], **given})
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(
            f"Invalid value for '{path}': {first['msg']}. Chats do not take it either.",
            code="invalid_value",
            param=f"{DATA_SOURCE}.sampling_params.{first['loc'][0]}",
        ) from error


def _check_samples(criteria: Sequence[Criterion], source: CompletionsDataSource) -> None:
    """Check that several samples of a row can differ, and can be judged. Raises InvalidRequest."""
    if source.samples_per_row == 1:
        return
    params = f"{DATA_SOURCE}.sampling_params"
    once = next((each for each in criteria if each.type in ONCE_A_ROW), None)
    if once is not None:
        raise InvalidRequest(
            f"'n' must be 1 with the criterion '{once.name}', which judges each row once. Leave 'n' out, or "
            "create an eval without this criterion.",
            code="invalid_value",
            param=f"{params}.n",
        )
    if source.temperature == 0:
        raise InvalidRequest(
            "'temperature' must be above 0 with 'n' above 1: otherwise all answers to a row are equal. Leave "
            "'temperature' out for 1.",
            code="invalid_value",
            param=f"{params}.temperature",
        )


def _checked_rows(
    session: Session, project_id: str, settings: Settings, data_source: DataSource, rules: RowRules
) -> File | None:
    """Check the rows, or return the file that has them. Raises InvalidRequest."""
    source, most = data_source.source, _most_rows(settings, data_source)
    limit = getattr(source, "limit", None)
    if limit is not None and limit > most:
        raise _too_many(most, "Set a lower limit")
    match source:
        case FileContentSource():
            check_inline(source.content, rules, f"{SOURCE}.content")
            if len(source.content) > most:
                raise _too_many(most, "Send fewer", "content")
        case FileSource():
            file = files.find(session, project_id, source.id)
            if file is None:
                raise names_no_file(source.id, f"{SOURCE}.id")
            return file
        case StoredCompletionsSource():
            _check_completions(session, project_id, source, most)
    return None


def _check_completions(session: Session, project_id: str, source: StoredCompletionsSource, most: int) -> None:
    selection = Selection(
        source.model, source.metadata, start_time=source.created_after, end_time=source.created_before
    )
    found = completions.count(session, project_id, selection, most + 1)
    if found == 0:
        raise InvalidRequest(
            "No stored completion is selected. Select others, or store some with `store: true`.",
            code="no_rows",
            param=SOURCE,
        )
    if source.limit is None and found > most:
        raise _too_many(most, "The selection has more. Set 'data_source.source.limit'")


def _too_many(most: int, instead: str, field: str = "limit") -> InvalidRequest:
    return InvalidRequest(
        f"A run judges at most {most:,} rows on this server. {instead}.",
        code="too_many_rows",
        param=f"{SOURCE}.{field}",
    )
