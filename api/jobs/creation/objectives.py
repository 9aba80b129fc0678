"""Checks of a request's `method`: its objective, its hyperparameters and its kind of dataset."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from api.jobs.creation.method_schemas import Method
from api.jobs.creation.schemas import CreateJob
from core.catalog import BaseModelEntry
from core.datasets.kinds import ROW_IN_WORDS
from core.datasets.template_needs import IN_WORDS, missing_places
from core.errors import InvalidRequest
from core.jobs.token_counts import tokenizer_of
from core.objectives.hyperparameters import RequestedHyperparameters
from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES
from core.tables import ChatTemplate, File


def objective_of(method: Method | None) -> Objective:
    """Return the objective of a request's `method`. A request without one is supervised."""
    return OBJECTIVES[method.type if method else "supervised"]


def refuse_impossible(method: Method) -> None:
    """Raise InvalidRequest for an objective that is not on offer, or for options of another objective."""
    if method.type not in OBJECTIVES:
        raise InvalidRequest(
            f"The method '{method.type}' is not on offer yet. On offer: {_quoted(OBJECTIVES)}.",
            code="unsupported_method",
            param="method.type",
        )
    for name in type(method).model_fields:
        if name not in ("type", method.type) and getattr(method, name) is not None:
            raise InvalidRequest(
                f"'method.{name}' does not belong to the method '{method.type}'; leave it out.",
                code="invalid_value",
                param=f"method.{name}",
            )


def requested_hyperparameters(request: CreateJob) -> RequestedHyperparameters:
    """Return the hyperparameters from `method` or from the older field `hyperparameters`.

    A request may have both if they agree. Raises InvalidRequest if they contradict each other.
    """
    objective = objective_of(request.method)
    options = getattr(request.method, objective.name) if request.method else None
    newer: RequestedHyperparameters | None = options.hyperparameters if options else None
    older = request.hyperparameters
    if newer is None:
        return objective.requested(**(older.model_dump() if older else {}))
    if older is not None and newer.model_dump(include=set(type(older).model_fields)) != older.model_dump():
        raise InvalidRequest(
            f"'hyperparameters' contradicts 'method.{objective.name}.hyperparameters'; leave "
            "'hyperparameters' out.",
            code="invalid_value",
            param="hyperparameters",
        )
    return newer


def refuse_other_kind(method: Method | None, file: File, param: str) -> None:
    """Raise InvalidRequest if the objective does not learn from rows of the file's kind."""
    objective = objective_of(method)
    kind = file.kind
    assert kind is not None
    if kind == objective.dataset:
        return
    fitting = [each.name for each in OBJECTIVES.values() if each.dataset == kind]
    raise InvalidRequest(
        f"The method '{objective.name}' learns from {ROW_IN_WORDS[objective.dataset]} on each line, but a "
        f"line of {file.id} is {ROW_IN_WORDS[kind]}, which {_quoted(fitting)} "
        f"take{'' if len(fitting) > 1 else 's'}.",
        code="invalid_file_kind",
        param=param,
    )


def refuse_what_the_template_lacks(
    session: Session, base_model: BaseModelEntry, file: File, param: str
) -> None:
    """Raise InvalidRequest if the base model's chat template has no place for something that rows hold.

    A template that no worker has read yet is not judged here: the job fails when its rows are rendered.
    """
    needs = file.needs or {}
    template = _template_of(session, base_model) if needs else None
    if template is None:
        return
    refusal = missing_places(needs, template.places, param, base_model.id)
    if refusal is not None:
        code, message = refusal
        raise InvalidRequest(message, code=code, param=param)


def unjudged_needs(session: Session, base_model: BaseModelEntry, file: File) -> str | None:
    """Return what rows of a file need of a template that no worker has read yet, in words. None: nothing."""
    if not file.needs or _template_of(session, base_model) is not None:
        return None
    return " and ".join(IN_WORDS[need] for need in sorted(file.needs))


def _template_of(session: Session, base_model: BaseModelEntry) -> ChatTemplate | None:
    return session.get(ChatTemplate, tokenizer_of(base_model))


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
