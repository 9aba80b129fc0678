"""All objectives by their type, and the union of their options."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from core.objectives import NAMES
from core.objectives.objective import Objective, ObjectiveOptions

OBJECTIVES: dict[str, Objective] = {
    name: import_module(f"core.objectives.{name}").OBJECTIVE for name in NAMES
}

if TYPE_CHECKING:
    AnyObjective = ObjectiveOptions
else:
    AnyObjective = Annotated[
        Union[tuple(objective.options for objective in OBJECTIVES.values())],  # noqa: UP007
        Field(discriminator="type"),
    ]
    """The options of any objective, told apart by `type`."""
