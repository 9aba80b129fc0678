"""These settings say how large files, adapters and rows may be."""

from pydantic import Field
from pydantic_settings import BaseSettings


class FileFields(BaseSettings):
    """The settings that bound files, adapters and rows."""

    max_file_bytes: int = Field(
        512 * 1024**2, ge=1, description="Largest file that is uploaded in one request, bytes"
    )
    max_upload_bytes: int = Field(
        8 * 1024**3, ge=1, description="Largest file that is uploaded in parts, bytes"
    )
    max_adapter_bytes: int = Field(
        2 * 1024**3, ge=1024, description="Largest adapter that is imported, packed or unpacked, bytes"
    )
    max_row_bytes: int = Field(
        4 * 1024**2, ge=1024, description="Longest line of a dataset without its images, bytes"
    )
    max_row_image_bytes: int = Field(
        20 * 1024**2, ge=0, description="Most bytes of the images in a line of a dataset, as base64"
    )
    max_training_rows: int = Field(
        5_000_000, ge=1, description="Most rows of a job's training file. A job with more is refused"
    )
    max_training_tokens: int = Field(
        1_000_000_000,
        ge=1,
        description="Most tokens of a job's training file. A job with more fails while its rows are read. "
        "Each token takes 4 bytes of the disk",
    )
    max_validation_rows: int = Field(
        50_000, ge=1, description="Most rows of a job's validation file. A job with more is refused"
    )
    max_validation_tokens: int = Field(
        20_000_000,
        ge=1,
        description="Most tokens of a job's validation file. A job with more fails while its rows are read",
    )
