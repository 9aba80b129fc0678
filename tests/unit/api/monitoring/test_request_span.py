"""What the span of a request says of it."""

from api.monitoring.request_span import begin_request_span, complete_request_span
from tests.fixtures.outside.collector import sending_as


def test_a_request_that_reached_no_route_has_none() -> None:
    scope = {"type": "http", "method": "GET", "path": "/v1/nothing", "headers": []}
    with sending_as("api") as collector:
        with begin_request_span(scope, "req_1") as span:
            complete_request_span(span, scope, 404)
        (found,) = collector.wait_for("GET elsewhere")
    assert "http.route" not in found.attributes
    assert found.attributes["http.response.status_code"] == 404
