"""Checks whether an endpoint may be asked, before anything is sent to it."""

from core.egress import Egress, EgressRefused
from core.endpoints.header_values import check_headers
from core.endpoints.schemas import Endpoint
from core.errors import InvalidRequest


def check_endpoint(egress: Egress, endpoint: Endpoint, param: str) -> None:
    """Raise InvalidRequest if requests may not go to the address, or if a header cannot be sent.

    `param` is the endpoint's place in the request.
    """
    check_headers(endpoint.headers or {}, f"{param}.headers")
    try:
        egress.check_url(endpoint.address)
    except EgressRefused as error:
        message = f"The address is refused: {error}."
        raise InvalidRequest(
            message, code="invalid_url", param=f"{param}.{endpoint.address_field}"
        ) from error
