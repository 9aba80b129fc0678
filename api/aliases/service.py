"""Moves aliases, and deletes them. Nothing here commits."""

import re
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.adapters import aliases
from api.adapters import service as adapters
from api.adapters.service import ADAPTER_ID
from api.aliases.schemas import ALIAS_NAME, AliasMoveObject, AliasObject, SetAlias
from api.http.paging import shown_page
from api.models import service as models
from api.models.queries import keep
from api.schemas import Page
from core.access import audit
from core.access.audit import Actor
from core.catalog import Catalog
from core.errors import Conflict, InvalidRequest, NotFound
from core.tables import Alias, AliasMove, ApiKey

MAX_ALIASES = 100  # of a project: each deletion of a model reads all of them
VERSION = re.compile(r"[1-9][0-9]{0,8}")

Weights = dict[str, int]


def put(session: Session, actor: Actor, catalog: Catalog, request: SetAlias) -> Alias:
    """Create an alias, or move it, and return it. An alias that leads there already stays as it is.

    Raises InvalidRequest, and Conflict if the alias has another version than the request expects.
    """
    if catalog.get(request.name) is not None or ADAPTER_ID.fullmatch(request.name):
        kind = "an adapter's id" if ADAPTER_ID.fullmatch(request.name) else "a base model"
        raise InvalidRequest(
            f"'{request.name}' is {kind}. Choose another name.", code="alias_name_taken", param="name"
        )
    weights = _destination(session, actor.project_id, catalog, _asked(request))
    alias = _locked_or_new(session, actor.project_id, request.name)
    _expect(alias, request.version)
    count = select(func.count()).where(Alias.project_id == actor.project_id)
    if alias.version == 0 and session.scalars(count).one() > MAX_ALIASES:
        raise InvalidRequest(
            f"A project has at most {MAX_ALIASES} aliases. Delete one first.", code="too_many_aliases"
        )
    if alias.weights != weights:
        _move(session, actor, alias, weights)
    return alias


def back(session: Session, actor: Actor, catalog: Catalog, name: str, version: int | None) -> Alias:
    """Move an alias to where it led before, and return it. Each further call goes one move further back.

    Raises NotFound. Raises InvalidRequest if there is nothing to go back to, or if a model is gone, and
    Conflict if the alias has another version than the request expects.
    """
    alias = get(session, actor.project_id, name, lock=True)
    _expect(alias, version)
    before = (_find_move(session, alias, alias.version).restored or alias.version) - 1
    if before < 1:
        raise InvalidRequest(
            f"The alias '{name}' has no earlier version. Move it by POST /v1/aliases.",
            code="no_earlier_version",
        )
    move = _find_move(session, alias, before)
    weights = _destination(session, actor.project_id, catalog, move.weights)
    _move(session, actor, alias, weights, restored=move.restored or before)
    return alias


def get(session: Session, project_id: str, name: str, *, lock: bool = False) -> Alias:
    """Return the project's alias. Raises NotFound."""
    alias = aliases.find(session, project_id, name, lock=lock)
    if alias is None:
        raise NotFound(f"No such alias: {name}", code="alias_not_found", param="alias")
    return alias


def list_page(session: Session, project_id: str, after: str | None, limit: int) -> Page[AliasObject]:
    """Return a page of the project's aliases, by name."""
    query, show = select(Alias).where(Alias.project_id == project_id), AliasObject.of
    return shown_page(
        session, query, Alias.name, show, ids=ALIAS_NAME, after=after, limit=limit, newest_first=False
    )


def history(
    session: Session, project_id: str, name: str, after: str | None, limit: int
) -> Page[AliasMoveObject]:
    """Return a page of the alias's moves, each with the key that made it, newest first. Raises NotFound."""
    alias = get(session, project_id, name)
    query: Any = (
        select(AliasMove, ApiKey)
        .outerjoin(ApiKey, ApiKey.id == AliasMove.key_id)
        .where(AliasMove.project_id == alias.project_id, AliasMove.alias == alias.name)
    )
    version, show = AliasMove.version, AliasMoveObject.of
    return shown_page(session, query, version, show, ids=VERSION, after=after, limit=limit)


def delete(session: Session, actor: Actor, name: str) -> None:
    """Delete an alias with its history. Raises NotFound."""
    alias = get(session, actor.project_id, name, lock=True)
    session.delete(alias)
    audit.record(session, actor, "alias.deleted", name, {"weights": alias.weights})


def _find_move(session: Session, alias: Alias, version: int) -> AliasMove:
    return session.get_one(AliasMove, (alias.project_id, alias.name, version))


def _move(
    session: Session, actor: Actor, alias: Alias, weights: Weights, restored: int | None = None
) -> None:
    alias.weights = weights
    alias.version += 1
    alias.updated_at = func.now()
    move = AliasMove(
        project_id=alias.project_id,
        alias=alias.name,
        version=alias.version,
        weights=weights,
        restored=restored,
        key_id=actor.key_id,
    )
    session.add(move)
    session.flush()
    session.refresh(alias)
    audit.record(session, actor, "alias.moved", alias.name, {"weights": weights, "version": alias.version})


def _asked(request: SetAlias) -> Weights:
    if (request.model is None) == (request.weights is None):
        raise InvalidRequest(
            "Send either 'model' or 'weights'.", code="missing_required_parameter", param="model"
        )
    return {request.model: 1} if request.model is not None else dict(request.weights or {})


def _destination(session: Session, project_id: str, catalog: Catalog, weights: Weights) -> Weights:
    """Return the weights by the models' own names, and keep the models from deletion.

    Raises InvalidRequest for a model that the project cannot see, and for one that is named twice.
    """
    named: Weights = {}
    for asked, weight in sorted(weights.items()):
        name = _model(session, project_id, catalog, asked)
        if name in named:
            raise InvalidRequest(f"The model '{name}' stands twice.", code="invalid_value", param="weights")
        named[name] = weight
    return named


def _model(session: Session, project_id: str, catalog: Catalog, asked: str) -> str:
    """Return the model's own name. Only a model of another project may still be deleted from now on."""
    if catalog.get(asked) is not None:
        return asked
    try:
        name = _name_of_adapter(session, project_id, asked) if ADAPTER_ID.fullmatch(asked) else asked
        model = models.visible(session, project_id, name)
    except NotFound as error:
        raise InvalidRequest(
            f"The model '{asked}' does not exist. An alias leads to a base model, a fine-tuned model, a "
            "checkpoint or an adapter of this project, or to one that is shared with it.",
            code="model_not_found",
            param="model",
        ) from error
    if model.project_id == project_id and not keep(session, model):
        raise InvalidRequest(
            f"'{asked}' is being deleted, or is a checkpoint of a job that still trains and may remove it. "
            "Wait until the job has ended.",
            code="model_not_kept",
            param="model",
        )
    return name


def _name_of_adapter(session: Session, project_id: str, adapter_id: str) -> str:
    return adapters.get(session, project_id, adapter_id).model


def _locked_or_new(session: Session, project_id: str, name: str) -> Alias:
    """Return the alias, locked. A new one has the version 0. Others may create or delete it meanwhile."""
    while (alias := aliases.find(session, project_id, name, lock=True)) is None:
        row = insert(Alias).values(project_id=project_id, name=name, weights={}, version=0)
        session.execute(row.on_conflict_do_nothing())
    return alias


def _expect(alias: Alias, version: int | None) -> None:
    if version not in (None, alias.version):
        raise Conflict(
            f"The alias '{alias.name}' has the version {alias.version}, not {version}: somebody has moved "
            "it. Read it again before you move it.",
            code="alias_moved",
            param="version",
        )
