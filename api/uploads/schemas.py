"""Uploads and their parts, in OpenAI's form."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.files.expiry import ExpiresAfter
from api.files.intake import Purpose
from api.files.schemas import FileObject
from api.schemas import UnixSeconds, from_row
from core.tables import File, Upload

MAX_PARTS = 10_000

PartId = Annotated[str, Field(max_length=64)]


class CreateUpload(BaseModel):
    """The file that will be sent in parts.

    `mime_type` is one of OpenAI's parameters and has no effect: the content of the file decides.
    """

    model_config = ConfigDict(strict=True)

    bytes: Annotated[int, Field(ge=1, description="The size of the whole file in bytes")]
    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    mime_type: Annotated[str, Field(max_length=256)]
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    model_config = ConfigDict(strict=True)

    part_ids: Annotated[
        list[PartId],
        Field(min_length=1, max_length=MAX_PARTS, description="The parts of the file, in their order"),
    ]
    md5: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-fA-F]{32}$", description="The MD5 of the whole file, in hexadecimal"),
    ] = None


class UploadObject(BaseModel):
    id: str
    object: Literal["upload"] = "upload"
    bytes: Annotated[int, Field(description="The size of the whole file in bytes")]
    created_at: UnixSeconds
    expires_at: UnixSeconds
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: Annotated[
        FileObject | None, Field(description="The file that the upload became. Null until it is completed")
    ]

    @classmethod
    def of(cls, upload: Upload, file: File | None = None) -> "UploadObject":
        return from_row(cls, upload, file=FileObject.of(file) if file else None)


class UploadPartObject(BaseModel):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: UnixSeconds
    upload_id: str


# `api.uploads.part` parses the form while it arrives, so FastAPI does not know its fields.
PART_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": {
                            "type": "string",
                            "format": "binary",
                            "description": "The bytes of the part, at most 64 MiB",
                        }
                    },
                }
            }
        },
    }
}
