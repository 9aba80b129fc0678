"""The parts that every objective has: the class of its options, and the description of an objective."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from core.datasets.kinds import Kind
from core.objectives.hyperparameters import Auto, Hyperparameters, RequestedHyperparameters
from core.options import Options

NOTHING: Mapping[str, Any] = MappingProxyType({})


class ObjectiveOptions(Options):
    """The options of one objective, as a job's specification holds them.

    A client may set each of them among OpenAI's hyperparameters, except those that are `beside` them. A
    number may be `"auto"` in a request, which becomes the default that the class declares.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    needs_reference: ClassVar[bool] = False
    """Whether the loss compares with the log-probabilities of the model that the job begins with"""

    beside: ClassVar[frozenset[str]] = frozenset()
    """Options whose place in a request is beside `hyperparameters`"""

    automatic: ClassVar[Mapping[str, str]] = NOTHING
    """Rules in words for options whose `"auto"` becomes another value than their default"""

    type: str

    @property
    def sampled_tokens(self) -> int:
        """The most tokens of an answer that is sampled to learn from; 0 if the rows have their answers."""
        return 0

    @property
    def stops_early(self) -> bool:
        """Whether a validation may end the job, which then publishes the best of its earlier states."""
        return False

    def sized(self, steps_per_epoch: int, max_length: int) -> Self:  # noqa: ARG002 - for those that have rules
        """Return the options of a job of this size, with the value by its rule for each that nobody has set.

        `max_length` are the most tokens of a row.
        """
        return self


@dataclass(frozen=True)
class Objective:
    """One objective: its options and the words that describe it.

    `rows` says in words what each line of the dataset holds. `has_companions` says whether each row gets a
    companion, which is its prompt with another row's answer.

    The other fields say what `"auto"` becomes. `batch_sizes` are the smallest and the largest batch size.
    Between them, an epoch has about `steps_per_epoch` steps. `epochs` are the fewest and the most epochs.
    Between them, a job visits at least `least_rows` rows, and makes at least `least_steps` steps.
    `learning_rate_multiplier` is the number itself: the usual learning rates for preferences are a tenth of
    those for supervised jobs.
    """

    options: type[ObjectiveOptions]
    title: str
    description: str
    rows: str
    dataset: Kind
    has_companions: bool = False
    batch_sizes: tuple[int, int] = (4, 32)
    steps_per_epoch: int = 100
    epochs: tuple[int, int] = (1, 3)
    least_rows: int = 300
    least_steps: int = 0
    learning_rate_multiplier: float = 0.1

    @property
    def name(self) -> str:
        """The objective's `type` in requests, which is also the name of its modules."""
        default: str = self.options.model_fields["type"].default
        return default

    @property
    def samples_answers(self) -> bool:
        """Whether the model answers the rows itself, in training."""
        return self.dataset == "prompt"

    @property
    def rows_per_example(self) -> int:
        """The rows that the batch size counts as one: a pair of answers, or an answer and its companion."""
        return 2 if self.dataset == "preference" or self.has_companions else 1

    @property
    def own_options(self) -> Mapping[str, FieldInfo]:
        """The options that a client may set among OpenAI's hyperparameters."""
        return {name: field for name, field in self._fields.items() if name not in self.options.beside}

    @property
    def options_beside(self) -> Mapping[str, FieldInfo]:
        """The options that a client may set beside the hyperparameters."""
        return {name: field for name, field in self._fields.items() if name in self.options.beside}

    @property
    def _fields(self) -> Mapping[str, FieldInfo]:
        return {name: field for name, field in self.options.model_fields.items() if name != "type"}

    @cached_property
    def requested(self) -> type[RequestedHyperparameters]:
        """The hyperparameters that a client may send. Each number of `own_options` may be `"auto"`."""
        if not self.own_options:
            return RequestedHyperparameters
        own = self.own_options
        fields: dict[str, Any] = {name: self._requested(name, field) for name, field in own.items()}
        return create_model(
            f"Requested{self.options.__name__}",
            __base__=RequestedHyperparameters,
            __doc__=f"The hyperparameters of a job with the objective {self.title}, as a client sends them.",
            __module__=__name__,
            __cls_kwargs__={"use_attribute_docstrings": False},  # a class made at run time has no source text
            **fields,
        )

    def _requested(self, name: str, field: FieldInfo) -> tuple[Any, Any]:
        """Return type and field of an option in a request.

        The default of a text or a boolean is a value like any other, and needs no `"auto"`.
        """
        usual = field.default
        kind: Any = field.annotation
        if field.metadata:
            kind = Annotated[kind, *field.metadata]
        if isinstance(usual, str | bool):
            return kind, Field(usual, description=field.description)
        rule = self.options.automatic.get(name) or f"{usual:g}"
        return Auto | kind, Field("auto", description=f"{field.description}; `auto` is {rule}")

    def resolve_options(
        self, requested: RequestedHyperparameters, beside: Mapping[str, Any] = NOTHING
    ) -> ObjectiveOptions:
        """Return the objective's options, with the default in place of each `"auto"` and each null.

        `beside` are the options that the request has beside the hyperparameters.
        """
        asked = requested.model_dump(include=requested.model_fields_set & set(self.own_options))
        chosen = {name: value for name, value in asked.items() if value not in ("auto", None)}
        return self.options(**chosen, **beside)

    def resolve_hyperparameters(self, requested: RequestedHyperparameters, rows: int) -> Hyperparameters:
        """Return the hyperparameters for a dataset of `rows` rows, with a number in place of each `"auto"`.

        A pair of answers is one row, and so is a prompt with all of its answers.
        """
        batch_size, n_epochs = requested.batch_size, requested.n_epochs
        multiplier = requested.learning_rate_multiplier
        if batch_size == "auto":
            batch_size = _within(self.batch_sizes, rows // self.steps_per_epoch)
        if n_epochs == "auto":
            wanted = max(self.least_rows, self.least_steps * min(batch_size, rows))
            n_epochs = _within(self.epochs, -(-wanted // rows))
        return Hyperparameters(
            batch_size=batch_size,
            n_epochs=n_epochs,
            learning_rate_multiplier=self.learning_rate_multiplier if multiplier == "auto" else multiplier,
        )


def _within(bounds: tuple[int, int], number: int) -> int:
    """Return the number, or the bound beyond which it lies."""
    return min(bounds[1], max(bounds[0], number))
