"""A request for an estimate."""

from typing import Annotated

from pydantic import Field

from api.jobs.creation.schemas import CreateJob
from core.estimates.job.devices import DeviceName


class EstimateJob(CreateJob):
    """A request for an estimate: the request for a new job, and the devices to estimate it for.

    The request is checked as that for a new job is, but nothing is created.
    """

    devices: Annotated[
        list[DeviceName] | None,
        Field(
            description="Devices to estimate for; null is all of them. `this-machine` is the device of the "
            "worker that would train the job",
            min_length=1,
            max_length=16,
        ),
    ] = None
