"""An experiment tracker as a client reads it."""

from typing import Literal

from pydantic import Field

from api.schemas import Identified


class IntegrationObject(Identified):
    """An experiment tracker.

    Its `id` is the `type` in a job's `integrations`. `CreateJob` describes its options.
    """

    object: Literal["integration"] = "integration"
    tracking_uris: list[str] = Field(
        description="The addresses of the MLflow servers, the default first. Empty for other trackers"
    )
