"""Previews of a file's rows as a client reads them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from core.datasets.formats.reading import NumberedBy
from core.serving.previews import RowPreview


class FilePreview(BaseModel):
    """Rows of a file as training sees them: tokens, which of them are learnt, and with which weight."""

    object: Literal["file.preview"] = "file.preview"
    file_id: str
    model: str
    max_length: Annotated[int, Field(description="The tokens of a row that training sees")]
    numbered_by: Annotated[
        NumberedBy, Field(description="What `lines` counts: `row` in a JSON array and in Parquet")
    ]
    rows: Annotated[list[RowPreview], Field(description="In the order of the lines that were asked for")]
