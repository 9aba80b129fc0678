"""What all methods of adaptation have in common: the base of their options, and what is told of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field

from core.options import Options

MAX_RANK = 256

Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]
Alpha = Annotated[int, Field(ge=1, le=4096)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

# PEFT reads the keys of its patterns as regular expressions. Names alone are taken: a worker must not spend
# its time on an expression that somebody has sent.
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,256}$")]
T = TypeVar("T")
# JSON Schema would take any other name as well.
PerModule = Annotated[dict[ModuleName, T], Field(json_schema_extra={"additionalProperties": False})]
ModuleNames = Annotated[list[str], Field(min_length=1)]
Targets = Literal["all-linear"] | ModuleNames
Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def _type_is_required(schema: dict[str, Any]) -> None:
    """Without a type, an adapter is LoRA's: of all schemas, it must fit that one alone."""
    schema["required"] = ["type", *schema.get("required", [])]


class MethodOptions(Options):
    """Options in PEFT's names and with its defaults, unless a class says otherwise.

    What PEFT has besides is left out where it makes no sense on a server (paths, runtime settings, layers
    that are repeated) or where no runtime would load the result (biases, whole modules saved beside).
    """

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=_type_is_required)

    type: str

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """The field and the reason wherever options do not go together that are right by themselves."""
        yield from ()


class TargetOptions(MethodOptions):
    """Of a method that changes linear layers."""

    target_modules: Targets = "all-linear"
    """The last parts of modules' names; `all-linear`, our default, is every linear layer but the head"""
    layers_to_transform: Layers | None = None
    """The decoder layers to change, counted from 0; null changes all"""


class ExcludingOptions(TargetOptions):
    """The same, of those that can leave out some."""

    exclude_modules: ModuleNames | None = None
    """Of the targets, those that stay as they are"""


@dataclass(frozen=True)
class Paper:
    """Where a method was published."""

    title: str
    arxiv: str

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


@dataclass(frozen=True)
class Method:
    """A method of adaptation, as it is listed.

    `learning_rate` is the peak where a job names none. `trains` tells whether jobs of the method share their
    steps with others. `runtimes` load the result as it is published, which is an adapter for the base model
    or a whole model.
    """

    options: type[MethodOptions]
    title: str
    good_for: str
    cost: str
    learning_rate: float
    paper: Paper | None = None
    runtimes: tuple[str, ...] = ("PEFT",)
    trains: Literal["cohort", "alone"] = "alone"
    result: Literal["adapter", "model"] = "adapter"

    @property
    def type(self) -> str:
        """PEFT's `peft_type` in lower case, or `full`."""
        default: str = self.options.model_fields["type"].default
        return default

    @property
    def needs_whole_weights(self) -> bool:
        """Whether a base model that is quantised, or spread over devices, is none for it: PEFT's modules and
        transformers' compute with weights that are there as they were published."""
        return self.trains == "alone"
