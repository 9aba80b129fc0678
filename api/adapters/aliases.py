"""Aliases of models: which of its models answers a request, and which models an alias keeps from deletion."""

import hashlib
import math
from collections.abc import Callable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.tables import Alias

HASH_BYTES = 6  # fewer than a float has digits for


def find(session: Session, project_id: str, name: str, *, lock: bool = False) -> Alias | None:
    """Return the project's alias. With `lock`, nobody else moves it until the transaction ends."""
    query = select(Alias).where(Alias.project_id == project_id, Alias.name == name)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def may_be_alias(name: str) -> bool:
    """Return whether an alias can have this name. The names of fine-tuned models have colons."""
    return ":" not in name


def chosen(weights: Mapping[str, int], key: Callable[[], str]) -> str:
    """Return the model that answers requests with this key.

    Equal keys get the same model. Of many keys, each model gets its share. If the weights change, no more
    keys change their model than must. This is weighted rendezvous hashing: each model draws a time from an
    exponential distribution whose rate is its weight, and the earliest wins. The draw follows from the key
    and the model's name alone (Efraimidis and Spirakis, 2006).
    """

    if len(weights) == 1:
        return next(iter(weights))
    text = key()

    def drawn(model: str) -> float:
        digest = hashlib.sha256(f"{model}\n{text}".encode()).digest()
        uniform = (int.from_bytes(digest[:HASH_BYTES]) + 0.5) / 256**HASH_BYTES
        return -math.log(uniform) / weights[model]

    return min(weights, key=drawn)


def refuse_if_aliased(session: Session, project_id: str, is_meant: Callable[[str], bool]) -> None:
    """Raise Conflict if one of the project's aliases leads to a model whose name `is_meant`.

    Call this after the row of the model, or of its job, is locked. `api.aliases` locks the row too before it
    lets an alias lead there.
    """
    for alias in session.scalars(select(Alias).where(Alias.project_id == project_id).order_by(Alias.name)):
        model = next(filter(is_meant, alias.weights), None)
        if model is not None:
            raise Conflict(
                f"The alias '{alias.name}' leads to '{model}'. Move or delete the alias first.",
                code="model_in_use",
            )
