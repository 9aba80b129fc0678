"""These settings say what a project may use."""

from pydantic import Field
from pydantic_settings import BaseSettings


class ProjectFields(BaseSettings):
    """The settings of projects: who administers them, and the quotas of each."""

    operator_project: str = Field(
        "default", description="Project whose admin keys administer all projects, not only their own"
    )
    key_trust_seconds: float = Field(
        2.0,
        ge=0,
        description="Longest time for which a revoked key or an old quota is still valid, seconds",
    )
    project_jobs: int | None = Field(
        None, ge=1, description="Most jobs of one project that run at the same time, on all workers together"
    )
    project_queued_jobs: int | None = Field(
        None, ge=0, description="Most jobs of one project that wait in the queue"
    )
    project_open_tasks: int = Field(
        20,
        ge=1,
        description="Most tasks, such as exports and eval runs, of one project that wait or are being done",
    )
    project_stored_bytes: int | None = Field(
        None,
        ge=0,
        description="Largest total size of what one project stores, bytes: files, imported and composed "
        "adapters, exports, evals, and the requests of jobs and tasks; not what its jobs have trained",
    )
    project_open_uploads: int = Field(
        100, ge=1, description="Most uploads in parts of one project that are open at the same time"
    )
    project_completion_bytes: int = Field(
        0,
        ge=0,
        description="Largest total size of one project's stored chat completions, bytes. 0 stores none",
    )
    project_completion_days: int = Field(
        30, ge=1, description="Days after which a project's stored chat completions are removed"
    )
    project_event_streams: int = Field(
        1000,
        ge=1,
        description="Most streams of events of one project that are open at the same time, in each API "
        "process",
    )
    project_requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests of one project per minute; all API processes count together"
    )
    project_concurrent_chats: int = Field(
        32,
        ge=1,
        description="Most answers of one project that are written at the same time: a chat or completion "
        "counts as often as it has prompts, times `n`. All API processes and eval runs count together. "
        "Further ones wait",
    )
    project_waiting_chats: int = Field(
        256,
        ge=0,
        description="Most chats and completions of one project that wait, in each API process. Further ones "
        "are refused",
    )
    project_tokens_per_minute: int | None = Field(
        None,
        ge=1,
        description="Most tokens of one project per minute, in prompts and answers of chats and completions; "
        "all API processes and eval runs count together",
    )
    chat_wait_seconds: float = Field(
        60,
        ge=0,
        description="Longest time that a chat or completion waits for others, or an import for a worker, "
        "before it is refused, seconds",
    )
