"""The parts that every objective has: the class of its options, and the description of an objective."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from core.datasets.kinds import Kind
from core.objectives.hyperparameters import Auto, Hyperparameters, RequestedHyperparameters
from core.options import Options


class ObjectiveOptions(Options):
    """The options of one objective, as a job's specification holds them.

    A client may set each of them beside OpenAI's hyperparameters. `"auto"` in a request becomes the default
    that the class declares.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    needs_reference: ClassVar[bool] = False
    """Whether the loss compares with the log-probabilities of the model that the job begins with"""

    type: str

    @property
    def sampled_tokens(self) -> int:
        """The most tokens of an answer that is sampled to learn from; 0 if the rows have their answers."""
        return 0


@dataclass(frozen=True)
class Objective:
    """One objective: its options and the words that describe it.

    `rows` says in words what each line of the dataset holds. `epochs` are the fewest and the most epochs that
    `"auto"` chooses. `learning_rate_multiplier` is the number that its `"auto"` becomes: the usual learning
    rates for preferences are a tenth of those for supervised jobs. `has_companions` says whether each row
    gets a companion, which is its prompt with another row's answer.
    """

    options: type[ObjectiveOptions]
    title: str
    description: str
    rows: str
    dataset: Kind
    epochs: tuple[int, int] = (1, 3)
    learning_rate_multiplier: float = 0.1
    has_companions: bool = False

    @property
    def name(self) -> str:
        """The objective's `type` in requests, which is also the name of its modules."""
        default: str = self.options.model_fields["type"].default
        return default

    @property
    def rows_per_example(self) -> int:
        """The rows that the batch size counts as one: a pair of answers, or an answer and its companion."""
        return 2 if self.dataset == "preference" or self.has_companions else 1

    @property
    def own_options(self) -> Mapping[str, FieldInfo]:
        """The options that a client may set beside OpenAI's hyperparameters."""
        return {name: field for name, field in self.options.model_fields.items() if name != "type"}

    @cached_property
    def requested(self) -> type[RequestedHyperparameters]:
        """The hyperparameters that a client may send, in which each of `own_options` may be `"auto"`."""
        if not self.own_options:
            return RequestedHyperparameters
        fields: dict[str, Any] = {
            name: (
                Auto | Annotated[field.annotation, *field.metadata],
                Field("auto", description=f"{field.description}; `auto` is {field.default:g}"),
            )
            for name, field in self.own_options.items()
        }
        return create_model(
            f"Requested{self.options.__name__}",
            __base__=RequestedHyperparameters,
            __doc__=f"The hyperparameters of a job with the objective {self.title}, as a client sends them.",
            __module__=__name__,
            __cls_kwargs__={"use_attribute_docstrings": False},  # a class made at run time has no source text
            **fields,
        )

    def resolve_options(self, requested: RequestedHyperparameters) -> ObjectiveOptions:
        """Return the objective's options, with the default in place of each `"auto"`."""
        asked = requested.model_dump(include=set(self.own_options))
        return self.options(**{name: value for name, value in asked.items() if value != "auto"})

    def resolve_hyperparameters(self, requested: RequestedHyperparameters, rows: int) -> Hyperparameters:
        """Return the hyperparameters for a dataset of `rows` rows, with a number in place of each `"auto"`.

        A pair of answers is one row. For batch_size, `"auto"` becomes a hundredth of the rows, but 4 to 32,
        so that small datasets still take many steps. For n_epochs, it becomes the smallest number of epochs
        that visits at least 300 rows, within the objective's `epochs`.
        """
        batch_size, n_epochs = requested.batch_size, requested.n_epochs
        multiplier = requested.learning_rate_multiplier
        fewest, most = self.epochs
        return Hyperparameters(
            batch_size=min(32, max(4, rows // 100)) if batch_size == "auto" else batch_size,
            n_epochs=min(most, max(fewest, -(-300 // rows))) if n_epochs == "auto" else n_epochs,
            learning_rate_multiplier=self.learning_rate_multiplier if multiplier == "auto" else multiplier,
        )
