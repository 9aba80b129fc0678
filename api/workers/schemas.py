"""Workers and the queue. Of other projects' jobs there are numbers alone."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.schemas import Identified


class DeviceObject(BaseModel):
    """A worker's first device. Of a CPU, the memory is the machine's."""

    type: str
    name: str
    memory_bytes: int
    memory_used_bytes: Annotated[int, Field(description="By whomever, other programs too")]


class HeldJob(Identified):
    """A job of the caller's project that a worker holds."""

    user_provided_suffix: str | None
    model: str
    phase: str
    step: int
    total_steps: int | None


class WorkerObject(Identified):
    """`jobs` and `other_jobs` train together, on `base_model`."""

    object: Literal["worker"] = "worker"
    started_at: int
    last_seen_at: int
    host: Annotated[str | None, Field(description="The operator's administrators see it, and nobody else")]
    release: str
    devices: Annotated[int, Field(description="Its class: devices that train each of its jobs together")]
    device: DeviceObject
    base_model: Annotated[str | None, Field(description="The resident one; null before the first job")]
    jobs: Annotated[list[HeldJob], Field(description="The project's own")]
    other_jobs: Annotated[int, Field(description="How many of other projects it holds")]


class WaitingJob(Identified):
    user_provided_suffix: str | None
    model: str
    created_at: int
    queue_position: Annotated[int | None, Field(description="Null for a moment after it has come")]


class QueueObject(BaseModel):
    """The waiting jobs of one class of workers."""

    devices: int
    waiting_jobs: Annotated[int, Field(description="Of all projects")]
    own_waiting_jobs: int
    jobs: Annotated[list[WaitingJob], Field(description="The first of the project's own")]


class WorkerList(BaseModel):
    """`queues` has a class for each that is on offer, has a worker, or has a waiting job."""

    object: Literal["list"] = "list"
    data: list[WorkerObject]
    queues: list[QueueObject]
