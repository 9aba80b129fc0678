"""Components of the application that the routes of jobs and workers take as arguments."""

from typing import Annotated

from fastapi import Depends

from api.dependencies import component
from api.jobs.queue_positions import QueuePositions
from api.jobs.shared_polls import SharedPolls

Positions = Annotated[QueuePositions, Depends(component("positions"))]
Polls = Annotated[SharedPolls, Depends(component("polls"))]
