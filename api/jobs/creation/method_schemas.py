"""A job's `method` as a client sends it. It follows from `core/objectives`."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES
from core.options import Options


class BaseMethod(Options):
    """How to train. `supervised`, `dpo` and `reinforcement` are OpenAI's; the others are Tunery's own.

    Only the objective that `type` names may have options; the fields of the other objectives must be null.
    """

    type: str


def _request_of(objective: Objective) -> type[Options]:
    """Return the model of an objective's options in a request. Its description says what each row holds."""
    beside = objective.options_beside
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in beside.items()}
    fields["hyperparameters"] = (objective.requested | None, None)
    return create_model(
        f"{objective.options.__name__}Method",
        __base__=Options,
        __doc__=f"{objective.description}\n\nRows: {objective.rows}.",
        __module__=__name__,
        **fields,
    )


if TYPE_CHECKING:
    Method = BaseMethod
else:
    Method = create_model(
        "Method",
        __base__=BaseMethod,
        __doc__=BaseMethod.__doc__,
        __module__=__name__,
        type=(Literal[*OBJECTIVES], ...),
        **{
            name: (_request_of(objective) | None, Field(None, description=objective.title))
            for name, objective in OBJECTIVES.items()
        },
    )
