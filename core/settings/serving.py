"""These settings say how chats and completions are answered."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings


class ServingFields(BaseSettings):
    """The settings of what answers chats: a server, an upstream, or a trainer."""

    serve_host: str = Field("127.0.0.1", description="Address on which a server (`tunery serve`) listens")
    serve_port: int = Field(
        0, ge=0, le=65535, description="Port on which a server listens; 0 takes a port that is free"
    )
    serve_address: str | None = Field(
        None,
        pattern=r"^https?://[^/]+$",
        description="URL under which the API reaches a server, such as http://server-1:8001; default: the "
        "machine's name or TUNERY_SERVE_HOST, with the port",
    )
    serve_requests: int = Field(
        256,
        ge=1,
        description="Most answers that wait and run in one server: a request counts as often as it has "
        "prompts, times `n`. More are refused at once, except those of a project that has less than an equal "
        "share",
    )
    serve_wait_seconds: float = Field(
        120, gt=0, description="Longest time until the first token of an answer, seconds"
    )
    serve_idle_seconds: float = Field(
        900, gt=0, description="Time without a request after which a server releases its base model, seconds"
    )
    serve_cache_bytes: int = Field(
        1024**3, ge=1024**2, description="Memory of a server for keys, values and states of requests, bytes"
    )
    serve_adapter_bytes: int = Field(
        1024**3,
        ge=1024**2,
        description="Memory of a server for adapters, bytes. A request waits until its adapter fits beside "
        "those in use",
    )
    serve_upstream: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}=https?://[^/\s]+/?$",
        description="vLLM server that samples in place of the own sampler, with the id of its base model, "
        "such as qwen3-8b=http://vllm:8000",
    )
    serve_upstream_key: SecretStr | None = Field(
        None, description="Key that the vLLM server asks for (its `--api-key`)"
    )
    serve_upstream_folder: Path | None = Field(
        None,
        description="Folder for adapters, which the vLLM server must be able to read under the same path; "
        "default: upstream/ in TUNERY_HOME",
    )
    serve_share: float = Field(
        0,
        ge=0,
        le=0.9,
        description="Share of its device's time that a trainer gives to chats while it trains, such as 0.3; "
        "while no job trains, they have all of it. Then the trainer answers chats itself, with its own base "
        "model, and `tunery up` starts no server beside it. 0: the trainer answers no chats",
    )

    @field_validator("serve_share")
    @classmethod
    def _one_process_shares(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("devices", 1) > 1:
            raise ValueError("a trainer of several devices answers no chats: run `tunery serve` beside it")
        if value and info.data.get("serve_upstream"):
            raise ValueError("an upstream computes elsewhere: run `tunery serve` for it")
        if value and info.data.get("idle_seconds") is not None:
            raise ValueError("a worker that answers chats must not end when no job trains: unset one of both")
        return value
