"""Workers and waiting jobs as a client reads them. Jobs of other projects are only counted."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.schemas import Identified, UnixSeconds


class DeviceObject(BaseModel):
    """The first device of a worker. If it is a CPU, the memory is that of the machine."""

    type: str
    name: str
    memory_bytes: Annotated[int, Field(description="Memory of the device in bytes")]
    memory_used_bytes: Annotated[int, Field(description="Memory that is in use, also by other programs")]


class HeldJob(Identified):
    """A job of the caller's project that a worker holds."""

    user_provided_suffix: str | None
    model: str
    phase: str
    step: int
    total_steps: int | None


class WorkerObject(Identified):
    """A worker. All its jobs, `jobs` and `other_jobs`, train together on `base_model`."""

    object: Literal["worker"] = "worker"
    started_at: UnixSeconds
    last_seen_at: UnixSeconds
    host: Annotated[
        str | None,
        Field(description="The name of its machine. Null unless an administrator of the operator asks"),
    ]
    release: Annotated[str, Field(description="The release of Tunery that it runs")]
    devices: Annotated[
        int,
        Field(description="The number of devices that train each of its jobs together; this is its class"),
    ]
    device: DeviceObject
    base_model: Annotated[
        str | None, Field(description="The base model that it holds in memory. Null before its first job")
    ]
    jobs: Annotated[list[HeldJob], Field(description="The jobs of the caller's project that it trains")]
    other_jobs: Annotated[int, Field(description="The number of jobs of other projects that it trains")]


class WaitingJob(Identified):
    user_provided_suffix: str | None
    model: str
    created_at: UnixSeconds
    queue_position: Annotated[
        int | None,
        Field(
            description="The position among all projects' waiting jobs of its class, 1 for the next. Null "
            "for a moment after the job has come"
        ),
    ]


class QueueObject(BaseModel):
    """The waiting jobs of one class of workers, those with so many `devices`."""

    devices: Annotated[int, Field(description="The number of devices of each worker of the class")]
    waiting_jobs: Annotated[int, Field(description="The number of waiting jobs of all projects")]
    own_waiting_jobs: Annotated[int, Field(description="The number of the project's own waiting jobs")]
    jobs: Annotated[
        list[WaitingJob], Field(description="The first of the project's own waiting jobs, 20 at most")
    ]


class WorkerList(BaseModel):
    """The workers that are there, and the queues.

    `queues` has each class of workers that is on offer, has a worker, or has a waiting job.
    """

    object: Literal["list"] = "list"
    data: list[WorkerObject]
    queues: list[QueueObject]
