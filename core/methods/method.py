"""The parts that all methods share: base classes for their options, and the description of a method."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import ConfigDict, Field

from core.options import Options

MAX_RANK = 256

Rank = Annotated[int, Field(ge=1, le=MAX_RANK)]
Alpha = Annotated[int, Field(ge=1, le=4096)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

# PEFT reads the keys of its patterns as regular expressions. We take only names, so that no client can send
# an expression that keeps a worker busy.
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,256}$")]
T = TypeVar("T")
LayerIndex = Annotated[int, Field(ge=0, lt=10_000)]
PartOfName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,256}$")]
# Without `additionalProperties`, a JSON Schema would also accept keys that are not module names.
PerModule = Annotated[dict[ModuleName, T], Field(json_schema_extra={"additionalProperties": False})]
ModuleNames = Annotated[list[str], Field(min_length=1)]
Targets = Literal["all-linear"] | ModuleNames
TargetModules = Annotated[
    Targets,
    Field(
        description="The modules to change, by the last parts of their names; `all-linear`, Tunery's own "
        "default, is every linear layer except the head"
    ),
]
RankPattern = Annotated[
    PerModule[Rank],
    Field(description="Different ranks for some modules, by the last parts of the modules' names"),
]
AlphaPattern = Annotated[
    PerModule[Alpha],
    Field(description="Different alphas for some modules, by the last parts of the modules' names"),
]
# The types of options that a job cannot change. PEFT's default is their only value.
NotOffered = Annotated[None, Field(description="Not offered: it stays null")]
NoDropout = Annotated[float, Field(ge=0.0, le=0.0, description="Not offered: it stays 0")]


def _type_is_required(schema: dict[str, Any]) -> None:
    """Require `type` in the schema of every method but LoRA.

    An adapter without a type is a LoRA, so it must match LoRA's schema and no other.
    """
    schema["required"] = ["type", *schema.get("required", [])]


class MethodOptions(Options):
    """The options of a method: PEFT's names and defaults, unless a class says otherwise.

    A class is the offer: a job may set whatever its types allow, and a worker trains all of it. Some options
    allow their default alone, so that a client may name it. `docs/methods.md` says which options of PEFT's
    LoRA are left out, and why.
    """

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=_type_is_required)

    only_in_training: ClassVar[frozenset[str]] = frozenset()
    """Options that say how an adapter is trained, and not what it is. A job that continues from an adapter
    may have others"""

    type: str

    @property
    def unpublished(self) -> str | None:
        """What is trained and not published, so that no job can continue from the result; None if nothing."""
        return None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield `(field, reason)` for each option that is valid by itself but contradicts another option."""
        yield from ()


SEEDS = ("random_seed", "random_loc_seed")  # of options that choose at random which numbers are trained


def with_seeds(options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the options with the job's `seed` for each of SEEDS that is null."""
    return {**options, **{name: seed for name in SEEDS if name in options and options[name] is None}}


class Layers(NamedTuple):
    """The decoder layers that an adapter is limited to, by their numbers.

    `patterns` are the names that the model's list of layers may have; none stands for any name.
    """

    numbers: Collection[int]
    patterns: Collection[str] = ()


class TargetOptions(MethodOptions):
    """The options of a method that changes linear layers."""

    target_modules: TargetModules = "all-linear"
    layers_to_transform: Annotated[list[LayerIndex], Field(min_length=1)] | None = None
    """The decoder layers to change, counted from 0; null is all of them. A target that is the whole name of a
    module is changed in any layer"""
    layers_pattern: Annotated[list[PartOfName], Field(min_length=1)] | None = None
    """The names that the list of decoder layers may have in the model, such as `layers` or `h`; null finds it
    by the first number in a module's name"""

    @property
    def layers(self) -> Layers | None:
        """The decoder layers that the adapter is limited to; None if it changes all layers."""
        if self.layers_to_transform is None:
            return None
        return Layers(self.layers_to_transform, self.layers_pattern or ())

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.layers_to_transform is not None and self.target_modules == "all-linear":
            yield "layers_to_transform", "it needs target_modules that name the modules, and not 'all-linear'"
        if self.layers_pattern is not None and self.layers_to_transform is None:
            yield "layers_pattern", "it is an option of layers_to_transform, which is null"


class ExcludingOptions(TargetOptions):
    """The options of a method that changes linear layers and that can leave some of them out in PEFT."""

    exclude_modules: NotOffered = None


@dataclass(frozen=True)
class Paper:
    """The publication of a method."""

    title: str
    arxiv: str

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


@dataclass(frozen=True)
class Method:
    """A method of adaptation, as the API lists it.

    `learning_rate` is the peak for a job that sets none. `trains` says whether a job of the method shares its
    steps with other jobs ("cohort"). `runtimes` are the programs that can load the published result. `result`
    says whether a job publishes an adapter for the base model, or a whole model.
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
        """Whether the method cannot train on a base model that is quantised or spread over devices.

        PEFT's and transformers' own modules need the source weights, whole and not quantised.
        """
        return self.trains == "alone"
