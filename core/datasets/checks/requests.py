"""A request for a check of a file."""

from typing import Annotated

from pydantic import ConfigDict, Field

from core.options import Options

MOST_LENGTH = 10_000_000  # tokens
MOST_LINES = 1000

Line = Annotated[int, Field(ge=1, le=2**31 - 1)]


class CheckRequest(Options):
    """What a file is checked against, and whether a mended copy is wanted."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    validation_file: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The id of a file whose rows must not occur among those that are checked"""
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """A base model, whose limit is taken if `max_length` is null"""
    max_length: Annotated[int, Field(ge=1, le=MOST_LENGTH)] | None = None
    """The tokens of a row after which training cuts it. Null, without a `model`, checks no cuts"""
    mend: bool = False
    """Make a new file without the rows that repeat others, that the validation file has too, or that teach
    nothing"""
    leave_out: Annotated[list[Line], Field(max_length=MOST_LINES)] = Field(default=[])
    """Lines of further rows that the new file is made without"""
