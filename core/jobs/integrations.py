"""The experiment trackers to which a job may report, in OpenAI's form.

A separate process of the worker reads the database and reports to the trackers (`worker/tasks/tracking`). So
no tracker can slow a job down or make it fail.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter

from core.options import Options
from core.secrets.hosts import Receiver, of_mlflow, of_wandb

LIBRARIES = {"wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboardX"}
"""The library that each integration imports. The extra with the integration's name installs it."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TagValue = Annotated[str, StringConstraints(max_length=500)]

WANDB_SECRET = "WANDB_API_KEY"  # noqa: S105 - the secret's name
PROJECT_SECRETS = {"wandb": WANDB_SECRET, "mlflow": "MLFLOW_TRACKING_TOKEN"}
"""The secret of the job's project that each tracker gets. It gets no others, and none of the worker's own."""


class WandbSettings(Options):
    model_config = ConfigDict(use_attribute_docstrings=True)

    project: Annotated[Name, Field(pattern=r"^[^/\\#?%:]+$")]
    """Project in which Weights & Biases shows the run"""
    name: Name | None = None
    """Name of the run; null is the job's id"""
    entity: Annotated[Name, Field(pattern=r"^[^/\\#?%:]+$")] | None = None
    """Team or user that owns the project; null is the owner of the API key"""
    tags: Annotated[list[Tag], Field(max_length=32)] | None = None
    """Tags of the run"""


class WandbIntegration(Options):
    """Weights & Biases. It uses the project's secret `WANDB_API_KEY`."""

    type: Literal["wandb"]
    wandb: WandbSettings


class MlflowSettings(Options):
    """Settings of MLflow. The operator chooses the servers that `tracking_uri` may name."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    experiment: Name
    """Experiment in which MLflow shows the run"""
    run_name: Name | None = None
    """Name of the run; null is the job's id"""
    tags: Annotated[dict[Tag, TagValue], Field(max_length=32)] | None = None
    """Tags of the run, each a name and a value"""
    tracking_uri: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """Server that receives the run, one of those in `GET /v1/integrations`; null is the first of them"""


class MlflowIntegration(Options):
    """MLflow. It uses the project's secret `MLFLOW_TRACKING_TOKEN`, if the project has one."""

    type: Literal["mlflow"]
    mlflow: MlflowSettings


class TensorboardIntegration(Options):
    """An event file for TensorBoard. Once the job has ended, it is the last of the job's `result_files`."""

    type: Literal["tensorboard"]


Integration = Annotated[
    WandbIntegration | MlflowIntegration | TensorboardIntegration, Field(discriminator="type")
]
INTEGRATION: TypeAdapter[Integration] = TypeAdapter(Integration)


def wandb_is_offline() -> bool:
    """Return whether the operator keeps runs of Weights & Biases on the worker's disk, which takes no key."""
    return os.environ.get("WANDB_MODE") in ("offline", "disabled")


def receiver_of(asked: Integration, mlflow_uris: Sequence[str]) -> Receiver | None:
    """Return the host that gets a tracker's secret. None is returned if no host gets it."""
    match asked:
        case WandbIntegration():
            return None if wandb_is_offline() else of_wandb()
        case MlflowIntegration():
            uri = asked.mlflow.tracking_uri or next(iter(mlflow_uris), None)
            return None if uri is None else of_mlflow(uri)
        case TensorboardIntegration():
            return None


def installed_integrations() -> list[str]:
    """Return the integrations whose library this process could import."""
    return [name for name, library in LIBRARIES.items() if find_spec(library) is not None]
