"""Uploads and their parts in OpenAI's shapes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.files.expiry import ExpiresAfter
from api.files.intake import Purpose
from api.files.schemas import FileObject
from api.schemas import unix_seconds
from core.tables import File, Upload, UploadPart

MAX_PARTS = 10_000

PartId = Annotated[str, Field(max_length=64)]


class CreateUpload(BaseModel):
    """What will be sent. `mime_type` is OpenAI's and decides nothing: the rows of a file are looked at."""

    model_config = ConfigDict(strict=True)

    bytes: Annotated[int, Field(ge=1, description="Of the whole file")]
    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    mime_type: Annotated[str, Field(max_length=256)]
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    model_config = ConfigDict(strict=True)

    part_ids: Annotated[
        list[PartId], Field(min_length=1, max_length=MAX_PARTS, description="In the order of the file")
    ]
    md5: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-fA-F]{32}$", description="Of the whole file, in hexadecimal"),
    ] = None


class UploadObject(BaseModel):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None

    @classmethod
    def of(cls, upload: Upload, file: File | None = None) -> "UploadObject":
        return cls.model_validate(
            {
                "id": upload.id,
                "bytes": upload.bytes,
                "created_at": unix_seconds(upload.created_at),
                "expires_at": unix_seconds(upload.expires_at),
                "filename": upload.filename,
                "purpose": upload.purpose,
                "status": upload.status,
                "file": FileObject.of(file) if file else None,
            }
        )


class UploadPartObject(BaseModel):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str

    @classmethod
    def of(cls, part: UploadPart) -> "UploadPartObject":
        return cls(id=part.id, created_at=unix_seconds(part.created_at), upload_id=part.upload_id)


# The part is parsed by hand while it streams, so FastAPI cannot derive this.
PART_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": {"type": "string", "format": "binary", "description": "At most 64 MiB"}
                    },
                }
            }
        },
    }
}
