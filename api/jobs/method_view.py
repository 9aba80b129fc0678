"""A job's `method` as the job shows it. It follows from `core/objectives`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES


class Stored(BaseModel):
    """A part of a job's specification, with the values that were resolved when the job was created.

    It is shown as it was stored, and not checked again: another release of Tunery may have had other limits,
    or other fields.
    """

    model_config = ConfigDict(extra="allow")


class Hyperparameters(Stored):
    """The hyperparameters of a job, with a number for each `"auto"` of the request."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


H = TypeVar("H", bound=Hyperparameters)


class MethodOptions(BaseModel, Generic[H]):
    hyperparameters: H


def _view_of(objective: Objective) -> type[BaseModel]:
    """Return the model of a `method` with this objective, as a job shows it."""
    name = objective.options.__name__
    hyperparameters = Hyperparameters
    if objective.own_options:
        own: dict[str, Any] = {
            option: (field.annotation, Field(description=field.description))
            for option, field in objective.own_options.items()
        }
        hyperparameters = create_model(
            f"{name}Hyperparameters", __base__=Hyperparameters, __module__=__name__, **own
        )
    options: type[BaseModel] = MethodOptions[hyperparameters]
    if objective.options_beside:
        # As it was stored, whatever this release would take
        beside: dict[str, Any] = {
            option: (Any, Field(description=field.description))
            for option, field in objective.options_beside.items()
        }
        options = create_model(f"{name}Options", __base__=options, __module__=__name__, **beside)
    fields: dict[str, Any] = {
        "type": (Literal[objective.name], objective.name),
        objective.name: (options, ...),
    }
    return create_model(f"{name}Method", __module__=__name__, **fields)


if TYPE_CHECKING:
    MethodView = BaseModel
else:
    MethodView = Annotated[
        Union[tuple(_view_of(objective) for objective in OBJECTIVES.values())],  # noqa: UP007
        Field(discriminator="type"),
    ]

METHOD_VIEW: TypeAdapter[MethodView] = TypeAdapter(MethodView)


def method_view(spec: Mapping[str, Any]) -> MethodView:
    """Return the `method` of a stored specification."""
    options = dict(spec["objective"])
    name = options.pop("type")
    beside = {option: options.pop(option, None) for option in OBJECTIVES[name].options_beside}
    return METHOD_VIEW.validate_python(
        {"type": name, name: {**beside, "hyperparameters": spec["hyperparameters"] | options}}
    )
