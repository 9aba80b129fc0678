"""These settings say how long things are kept."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class RetentionFields(BaseSettings):
    """The settings that say how long things are kept, backups among them."""

    backup_folder: Path | None = Field(
        None,
        description="Folder for backups of this service alone, on another disk or machine. It must exist. "
        "`tunery backup` writes to it, and the Postgres of `tunery up` archives its log there. It holds "
        "secrets",
    )
    backup_days: int = Field(
        30, ge=1, description="Days for which a backup is kept, with the objects that were deleted since"
    )
    retention_audit_days: int | None = Field(
        None, ge=1, description="Days after which entries of the audit log are removed; default: never"
    )
    retention_export_days: int = Field(
        30, ge=1, description="Days after which an export is deleted with its files"
    )
    retention_file_days: int | None = Field(
        None,
        ge=1,
        description="Days after which uploaded and produced files are deleted, unless an unfinished job "
        "reads them; default: never",
    )
    retention_run_days: int | None = Field(
        None,
        ge=1,
        description="Days after which ended attempts at a job are removed, except its last one. The usage "
        "keeps their device seconds; default: never",
    )
    retention_upload_days: int = Field(
        30, ge=1, description="Days for which the row of an ended upload in parts is kept. Its file stays"
    )
