"""An experiment tracker as a client sees it."""

from typing import Literal

from pydantic import Field

from api.schemas import Identified


class IntegrationObject(Identified):
    """The id is the integration's `type`. What it takes, `CreateJob` tells."""

    object: Literal["integration"] = "integration"
    tracking_uris: list[str] = Field(description="MLflow's servers, the default first; empty for the others")
