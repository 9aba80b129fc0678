"""These settings say how jobs are trained."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from core.estimates.job.devices import DEVICE_NAMES
from core.estimates.memory_plan import Recompute


class TrainingFields(BaseSettings):
    """The settings of training: leases, checkpoints, memory, cohorts, and what an hour costs."""

    lease_seconds: float = Field(
        60,
        ge=1,
        description="Time after which a job is taken from a trainer that does not renew its lease, seconds",
    )
    scan_seconds: float = Field(
        10,
        ge=0.1,
        description="Time between two scans for lost leases and for jobs whose hint was lost, seconds",
    )
    max_lost_attempts: int = Field(
        5, ge=1, description="Number of trainers that a job may lose in a row before it fails"
    )
    hang_seconds: float = Field(
        1800,
        gt=0,
        description="Longest time for one micro-batch, seconds. A trainer that takes longer is replaced",
    )
    checkpoint_seconds: float = Field(
        300, gt=0, description="Longest time of training without a checkpoint, seconds"
    )
    max_step_tokens: int | None = Field(
        None,
        ge=64,
        description="Most tokens in one micro-batch, which limits memory. Default: on a CPU 2,560 in bf16 "
        "and 1,536 in fp32, on a GPU up to 16,384, and less where less memory is free",
    )
    recompute: Recompute | Literal["auto"] = Field(
        "auto",
        description="What the backward pass computes again instead of keeping it: nothing, the MLPs' gate "
        "and up, whole layers, or whole layers from inputs that wait in the memory of a GPU's host. Less is "
        "kept from left to right, and more time is taken. `auto` leaves it to the plan of each job",
    )
    cohort_jobs: int = Field(16, ge=1, description="Most jobs that one trainer trains together")
    cohort_bytes: int | None = Field(
        None,
        ge=0,
        description="Most memory for adapters, gradients and moments of the jobs that train together, bytes. "
        "Default: what the base model and a step leave free; on a CPU at most 4 GiB",
    )
    device_prices: str | None = Field(
        None,
        pattern=rf"^(?:{'|'.join(DEVICE_NAMES)})=\d+(\.\d+)?(,(?:{'|'.join(DEVICE_NAMES)})=\d+(\.\d+)?)*$",
        description="Prices of an hour of each device, such as h100=2.5,this-machine=0.2. Estimates of jobs "
        "then have a price",
    )
    price_currency: str = Field(
        "USD", pattern=r"^[A-Z]{3}$", description="The currency of TUNERY_DEVICE_PRICES"
    )
