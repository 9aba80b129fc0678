"""Experiment trackers that a job may report to, in OpenAI's form, and how far each has got.

The worker reports what stands in the database (`worker/tracking`), so no tracker can slow a job or fail it.
"""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from core.options import Options

LIBRARIES = {"wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboardX"}
"""What each needs, as it is imported; the extra of the same name as the integration installs it."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TagValue = Annotated[str, StringConstraints(max_length=500)]


class WandbSettings(Options):
    model_config = ConfigDict(use_attribute_docstrings=True)

    project: Annotated[Name, Field(pattern=r"^[^/\\#?%:]+$")]
    """Where the run is shown"""
    name: Name | None = None
    """The run's; null is the job's id"""
    entity: Annotated[Name, Field(pattern=r"^[^/\\#?%:]+$")] | None = None
    """The team or user that the project is of; null is the key's own"""
    tags: Annotated[list[Tag], Field(max_length=32)] | None = None
    """Of the run"""


class WandbIntegration(Options):
    """Weights & Biases, with the project's secret `WANDB_API_KEY`."""

    type: Literal["wandb"]
    wandb: WandbSettings


class MlflowSettings(Options):
    """`tracking_uri` is one that the operator offers, by default the first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    experiment: Name
    """Where the run is shown"""
    run_name: Name | None = None
    """Null is the job's id"""
    tags: Annotated[dict[Tag, TagValue], Field(max_length=32)] | None = None
    """Of the run, a name and a value each"""
    tracking_uri: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """The server, one of `GET /v1/integrations`; null is the first"""


class MlflowIntegration(Options):
    """MLflow, with the project's secret `MLFLOW_TRACKING_TOKEN`, where it has one."""

    type: Literal["mlflow"]
    mlflow: MlflowSettings


class TensorboardIntegration(Options):
    """An event file for TensorBoard, the last of the job's `result_files` once it has ended."""

    type: Literal["tensorboard"]


Integration = Annotated[
    WandbIntegration | MlflowIntegration | TensorboardIntegration, Field(discriminator="type")
]


def installed_integrations() -> list[str]:
    """Those whose library this process could import."""
    return [name for name, library in LIBRARIES.items() if find_spec(library) is not None]
