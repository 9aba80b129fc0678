"""Files in OpenAI's shape."""

from typing import Literal

from pydantic import BaseModel

from api.files.expiry import EXPIRY_ANCHORS, MAX_LIFETIME, MIN_LIFETIME
from api.files.intake import PURPOSES
from api.schemas import Identified, unix_seconds
from core.tables import File


class FileObject(Identified):
    """OpenAI's, the content's SHA-256, and what the check of a `fine-tune` file has found: how many rows, and
    of which kind."""

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: int | None = None
    status_details: None = None
    rows: int | None = None
    kind: str | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, file: File) -> "FileObject":
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=unix_seconds(file.created_at),
            filename=file.filename,
            purpose=file.purpose,
            expires_at=unix_seconds(file.expires_at) if file.expires_at else None,
            rows=file.rows,
            kind=file.kind,
            sha256=file.sha256 or None,
        )


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


# The upload is parsed by hand while it streams, so FastAPI cannot derive this.
UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The file itself"},
                        "purpose": {
                            "type": "string",
                            "enum": list(PURPOSES),
                            "description": "The rows of a fine-tune file are checked while it arrives",
                        },
                        "expires_after[anchor]": {"type": "string", "enum": list(EXPIRY_ANCHORS)},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": MIN_LIFETIME,
                            "maximum": MAX_LIFETIME,
                            "description": "With the anchor, how long to keep the file; else until deleted",
                        },
                    },
                }
            }
        },
    }
}
