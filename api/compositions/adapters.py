"""Looks up the adapters of a composition, and refuses those that the method cannot compose."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from api.models.parents import Parent, model_named
from core.catalog import BaseModelEntry, Catalog
from core.compositions.methods import needs_one_rank
from core.compositions.requests import ComposeRequest, WeightedAdapter
from core.errors import InvalidRequest
from core.methods.method import MAX_RANK

BESIDE_LORA = (
    "target_parameters",
    "modules_to_save",
    "trainable_token_indices",
)  # what an adapter may change too


def parts_of(session: Session, project_id: str, catalog: Catalog, asked: ComposeRequest) -> Sequence[Parent]:
    """Return the adapters that the request names, and keep them from deletion in this transaction.

    Raises InvalidRequest, which names the adapter, if one cannot be composed with the others.
    """
    parts: list[Parent] = []
    for position, part in enumerate(asked.adapters):
        param = f"adapters.{position}.adapter"
        found = _found(session, project_id, catalog, part, param)
        _refuse_unsuitable(found, parts, part.adapter, param)
        parts.append(found)
    ranks = [_rank(part.options) for part in parts]
    known = [rank for rank in ranks if rank is not None]
    if needs_one_rank(asked.method) and len(set(known)) > 1:
        shown = ", ".join(map(str, known))
        raise InvalidRequest(
            f"The adapters have the ranks {shown}, but '{asked.method}' adds A and B, and needs one rank. "
            "Use 'cat', 'svd' or another method that ends in '_svd'.",
            code="different_ranks",
            param="method",
        )
    if asked.method == "cat" and sum(known) > MAX_RANK:
        raise InvalidRequest(
            f"'cat' would make an adapter of rank {sum(known)}; the largest is {MAX_RANK}. Use 'svd', with "
            "'svd_rank'.",
            code="rank_too_large",
            param="method",
        )
    return parts


def _found(session: Session, project_id: str, catalog: Catalog, part: WeightedAdapter, param: str) -> Parent:
    def unknown(name: str) -> InvalidRequest:
        return InvalidRequest(
            f"The model {name[:128]!r} does not exist. Name a fine-tuned model, a checkpoint or an adapter.",
            code="model_not_available",
            param=param,
        )

    found = model_named(session, project_id, catalog, part.adapter, param, unknown)
    if isinstance(found, BaseModelEntry):
        raise InvalidRequest(
            f"'{found.id}' is a base model. Name adapters, or models that were made of it.",
            code="not_an_adapter",
            param=param,
        )
    return found


def _refuse_unsuitable(found: Parent, earlier: Collection[Parent], name: str, param: str) -> None:
    if (reason := _unsuitable(found.options)) is not None:
        raise InvalidRequest(
            f"'{name}' cannot be composed: {reason}.", code="adapter_not_composable", param=param
        )
    for other in earlier:
        if other.itself == found.itself:
            raise InvalidRequest(
                f"'{name}' is named twice. Name it once, with the sum of the weights.",
                code="invalid_value",
                param=param,
            )
        if other.base_model.id != found.base_model.id:
            raise InvalidRequest(
                f"'{name}' belongs to the base model {found.base_model.id}, but {other.itself.model} belongs "
                f"to {other.base_model.id}. Only adapters of one base model can be composed.",
                code="different_base_models",
                param=param,
            )


def _unsuitable(options: Mapping[str, Any]) -> str | None:
    """Return why an adapter with these options cannot be composed, or None."""
    if options.get("type") != "lora":
        return f"it is {options.get('type')!r}, and only LoRA adapters can be composed"
    if options.get("use_dora"):
        return "it is a DoRA, whose norms of the weights cannot be added"
    if options.get("init_lora_weights") == "loftq":
        return "it was begun by LoftQ, so it makes up for what its own quantised base model has lost"
    if options.get("alora_invocation_tokens"):
        return "it acts only from its invocation on (aLoRA), and a sum of adapters acts on all tokens"
    if beside := [name for name in BESIDE_LORA if options.get(name)]:
        return f"it has {beside[0]}, and only low-rank updates of matrices can be added"
    return None


def _rank(options: Mapping[str, Any]) -> int | None:
    """Return the largest rank of a layer as PEFT counts it; None if only the adapter's files know it."""
    init = options.get("init_lora_weights", True)
    if init not in (True, "gaussian", "orthogonal") or not isinstance(options.get("r"), int):
        return None
    return max([options["r"], *options.get("rank_pattern", {}).values()])
