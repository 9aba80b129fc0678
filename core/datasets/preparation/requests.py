"""The wishes that a client may have for the rows of a training file: a split, and variants of rows."""

from typing import Annotated

from pydantic import ConfigDict, Field

from core.options import Options

MOST_COPIES = 4
SPLIT = "validation_split"
AUGMENTATION = "augmentation"

Fraction = Annotated[float, Field(gt=0, lt=1)]
RowCount = Annotated[int, Field(ge=1, le=1_000_000)]
Label = Annotated[str, Field(min_length=1, max_length=200)]
SystemPrompt = Annotated[str, Field(min_length=1, max_length=10_000)]


class Augmentation(Options):
    """Variants that are trained beside the training rows. Learnt answers are never changed.

    A variant has a draw of each kind that is named here. The job's seed decides the draws.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    copies: Annotated[int, Field(ge=1, le=MOST_COPIES)] = 1
    """Variants of each training row. A variant equal to its row, or to another variant, is left out"""
    few_shot_order: bool = False
    """Shuffle the turns before the last one. Only for rows whose earlier turns are examples"""
    typing_noise: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    """Share of the longer words in the user's turns that get a typing mistake"""
    user_case: bool = False
    """Write each turn of the user in lower or in upper case"""
    system_prompts: Annotated[list[SystemPrompt], Field(min_length=1, max_length=50)] | None = None
    """Texts of which each variant gets one as its system prompt"""
    label_order: Annotated[list[Label], Field(min_length=2, max_length=100)] | None = None
    """Labels. Where a prompt lists some of them side by side, a variant lists them backwards"""

    @property
    def names_a_kind(self) -> bool:
        """Whether a variant would differ from its row at all."""
        kinds = (
            self.few_shot_order,
            self.typing_noise,
            self.user_case,
            self.system_prompts,
            self.label_order,
        )
        return any(kinds)


class Preparation(Options):
    """How a job's rows are made of its training file."""

    validation_split: Fraction | RowCount | None = None
    augmentation: Augmentation | None = None

    @property
    def copies(self) -> int:
        """The most variants of a row."""
        return self.augmentation.copies if self.augmentation else 0

    def trained(self, rows: int) -> int:
        """Return how many rows are expected to train, of `rows` rows. Similar rows may change it a little."""
        return (rows - self.held_out(rows)) * (1 + self.copies)

    def held_out(self, rows: int) -> int:
        """Return how many of `rows` rows the split asks to hold out."""
        split = self.validation_split
        if split is None:
            return 0
        return split if isinstance(split, int) else round(split * rows)
