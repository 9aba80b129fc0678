"""The images of a job's file: from the process that reads them, through the tower, to the disk."""

import time
from multiprocessing.connection import Connection

from core.errors import OutsideFault
from worker.engine.base.tower import Tower
from worker.rendering.render_request import ReadImage
from worker.rows.image_store import ImageStore


class ImageFeed:
    """The images that a file's rows name. `store` gets the vectors of those that are seen."""

    def __init__(self, channel: Connection, count: int, store: ImageStore) -> None:
        self.store, self.count, self.seen = store, count, 0
        self._channel = channel

    @property
    def is_done(self) -> bool:
        return self.seen == self.count

    def see(self, tower: Tower, seconds: float) -> None:
        """Have the tower see images for so many seconds, at least one. Raises OutsideFault if none come.

        The process that reads them may have died, most often because memory ran out.
        """
        end = time.monotonic() + seconds
        while not self.is_done:
            try:
                found: ReadImage = self._channel.recv()
            except (EOFError, ConnectionError) as error:
                raise OutsideFault("The process that reads the images has died") from error
            tower.see(found.arrays, self.store, found.first)
            self.seen += 1
            if time.monotonic() >= end:
                return

    def close(self) -> None:
        """End the process that reads images, and let the vectors leave the disk."""
        self._channel.close()
        self.store.close()
