"""These settings name the servers that a process uses."""

from pydantic import Field
from pydantic_settings import BaseSettings


class ServerFields(BaseSettings):
    """The settings of the external servers: Postgres, Redis or Valkey, and the object store."""

    database_url: str | None = Field(
        None, description="Postgres, as postgresql://user:password@host:port/name"
    )
    broker_url: str | None = Field(None, description="Redis or Valkey, as redis://host:port/0")
    s3_endpoint_url: str | None = Field(None, description="URL of the S3 object store")
    s3_bucket: str | None = Field(None, description="Bucket in the object store; created if it is missing")
    database_direct_url: str | None = Field(
        None,
        description="Postgres itself, if TUNERY_DATABASE_URL leads to a pooler. `tunery migrate` needs it, "
        "since a migration holds a session. Both name the same role",
    )
