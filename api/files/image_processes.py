"""Decodes images in processes beside the caller's own, which an image may end."""

from functools import cache

from anyio import from_thread

from core.images.decoding import ImageFacts, facts_of
from core.images.parts import encoded_image, too_costly
from core.process.apart import Apart, ProcessDied, address_space, drop_secrets, limit_address_space

AT_ONCE = 2
SECONDS = 20.0  # for one image: many times what the largest takes that is allowed
MEMORY = 1024**3  # bytes beside those before its first image: several copies of the largest image


class ImageProcesses:
    """The processes that decode images beside one process."""

    def __init__(self) -> None:
        self.apart = Apart(AT_ONCE)

    def look(self, url: str) -> ImageFacts:
        """Return what the image in a data URL is. To be called in a thread of AnyIO.

        Raises UnusableImage, and Unavailable if the server is stopping.
        """
        image = encoded_image(url)
        return from_thread.run(self.facts, image.content, image.media_type)

    async def facts(self, content: bytes, media_type: str) -> ImageFacts:
        """Return what an image is, of which something says this media type. Raises as `look` does."""
        try:
            return await self.apart.run(SECONDS, facts_apart, content, media_type)
        except (ProcessDied, TimeoutError) as error:
            raise too_costly() from error

    def close(self) -> None:
        """End all decoding and let none begin. To be called in the thread of the event loop."""
        self.apart.close()


def facts_apart(content: bytes, media_type: str) -> ImageFacts:
    """Return what an image is, within limits of this process."""
    limit_address_space(_prepared() + MEMORY)
    try:
        return facts_of(content, media_type)
    except MemoryError:
        raise too_costly() from None


@cache
def _prepared() -> int:
    drop_secrets()
    return address_space()
