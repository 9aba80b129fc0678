"""What all endpoints have that a client can declare."""

from typing import Annotated, ClassVar

from pydantic import Field

from core.endpoints.header_values import HeaderName, HeaderValue
from core.options import Options

MAX_HEADERS = 32
MAX_ADDRESS = 2048

Address = Annotated[
    str, Field(min_length=1, max_length=MAX_ADDRESS, description="An https URL with a public address")
]


class Endpoint(Options):
    """The base class of what asks a URL."""

    address_field: ClassVar[str]
    """The name of the field that holds the URL"""

    headers: Annotated[
        dict[HeaderName, HeaderValue] | None,
        Field(
            max_length=MAX_HEADERS,
            description="Headers of each request, such as `authorization`. No answer shows their values",
        ),
    ] = None

    @property
    def address(self) -> str:
        """The URL."""
        found: str = getattr(self, self.address_field)
        return found

    @property
    def most_per_second(self) -> int | None:
        """The most requests per second. None is no limit."""
        return None
