"""Files in OpenAI's form."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.files.expiry import EXPIRY_ANCHORS, MAX_LIFETIME, MIN_LIFETIME
from api.files.intake import PURPOSES
from api.schemas import Deleted, Identified, Seconds, UnixSeconds, from_row
from core.tables import File


class FileObject(Identified):
    """A file in OpenAI's form, with four fields more.

    `sha256` is the hash of the content. `rows` is the number of rows of a `fine-tune` file, and `kind` says
    what its rows hold. `lineage` says from which stored completions the server has made the file.
    """

    object: Literal["file"] = "file"
    bytes: Annotated[int, Field(description="The size in bytes")]
    created_at: UnixSeconds
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: Annotated[
        Seconds | None, Field(description="Unix seconds. Null if the file does not expire")
    ] = None
    status_details: None = None
    rows: int | None = None
    kind: str | None = None
    sha256: str | None = None
    lineage: dict[str, Any] | None = None

    @classmethod
    def of(cls, file: File) -> "FileObject":
        return from_row(cls, file, sha256=file.sha256 or None)


class FileDeleted(Deleted):
    object: Literal["file"] = "file"


# `api.files.upload` parses the form while it arrives, so FastAPI does not know its fields.
UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The content of the file",
                        },
                        "purpose": {
                            "type": "string",
                            "enum": list(PURPOSES),
                            "description": "What the file is for. The rows of a `fine-tune` file are checked",
                        },
                        "expires_after[anchor]": {"type": "string", "enum": list(EXPIRY_ANCHORS)},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": MIN_LIFETIME,
                            "maximum": MAX_LIFETIME,
                            "description": "How many seconds to keep the file. Without it and the anchor, "
                            "a file with the purpose `batch` is kept for 30 days, and others until they are "
                            "deleted",
                        },
                    },
                }
            }
        },
    }
}
