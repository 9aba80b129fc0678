"""OpenAI's hyperparameters, which every objective takes: as a client sends them, and as a job stores them."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from core.options import Options

Auto = Literal["auto"]


class RequestedHyperparameters(Options):
    """OpenAI's hyperparameters of a supervised job, as a client sends them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    """Passes over the training file; `auto` depends on the number of its rows"""
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Rows, pairs of answers, or prompts in an optimizer step; `auto` depends on the number of rows in the
    training file"""
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] = "auto"
    """Factor on `training.learning_rate`; `auto` is 1 for `supervised`, 0.2 for `reinforcement`,
    0.5 for `distillation`, and 0.1 for every other objective"""


class Hyperparameters(Options):
    """The same hyperparameters once every `"auto"` has become a number."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float

    def steps_per_epoch(self, examples: int) -> int:
        """Return the number of steps of one epoch. The last step takes the examples that are left."""
        return -(-examples // min(self.batch_size, examples))
