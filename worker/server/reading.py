"""What every kind of server reads of a request, and writes at the head of its answer."""

import hashlib
import time
from importlib.metadata import version
from typing import Any

from core.catalog import BaseModelEntry, Catalog
from core.errors import NotFound
from core.ids import new_id
from core.serving.schemas.coherence import parse
from core.serving.schemas.sampling import Sampling
from core.serving.served_model import SERVED_FIELD, ServedModel
from worker.server.exchange import Exchange


def served_model(exchange: Exchange, served: Any) -> ServedModel:
    """Return what to answer with, and note it for the log."""
    model = parse(ServedModel, served, SERVED_FIELD)
    exchange.facts |= {"base": model.base, "adapter": model.adapter and model.adapter.sha256}
    return model


def entry_of(catalog: Catalog, model_id: str) -> BaseModelEntry:
    """Return a base model of this server. Raises NotFound."""
    entry = catalog.get(model_id)
    if entry is None:
        raise no_base_model(model_id)
    return entry


def no_base_model(model_id: str) -> NotFound:
    """Return the error of a request for a base model that this server does not have."""
    message = f"This server has no base model {model_id}."
    return NotFound(message, code="model_not_found", param="model")


def system_fingerprint(*facts: object) -> str:
    """Return OpenAI's `system_fingerprint`. It changes with `facts`, and with the release."""
    facts = *facts, version("tunery")
    return f"fp_{hashlib.sha256(repr(facts).encode()).hexdigest()[:10]}"


def head(prefix: str, request: Sampling, fingerprint: str) -> dict[str, Any]:
    """Return the fields that the answer and all its chunks share."""
    return {
        "id": new_id(prefix),
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": fingerprint,
    }
