"""Parts of the application that the routes of jobs and workers take as arguments."""

from typing import Annotated

from fastapi import Depends

from api.dependencies import part
from api.jobs.places import QueuePlaces
from api.jobs.shared_polls import SharedPolls

Places = Annotated[QueuePlaces, Depends(part("places"))]
Polls = Annotated[SharedPolls, Depends(part("polls"))]
