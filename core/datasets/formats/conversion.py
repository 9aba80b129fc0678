"""A request for a conversion of a file, and what came of it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from core.options import Options


class ConvertRequest(Options):
    """A request to convert a file into a dataset that a job takes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    filename: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The name of the new file. Null takes the name of the old one"""


class ConversionReport(BaseModel):
    """What a file was recognised as, and what its rows became."""

    container: Annotated[
        str, Field(description="How the rows are kept: `jsonl`, `json_array`, `csv`, `text` and others")
    ]
    format: Annotated[str, Field(description="The form of the input, such as `alpaca` or `sharegpt`")]
    rows: int
    kind: Annotated[str | None, Field(description="The kind of row that jobs see")]
    examples: Annotated[
        list[dict[str, Any]],
        Field(
            description="The first three rows of the new file. Long texts and lists are cut, and secrets are "
            "masked"
        ),
    ]
