"""`tunery webhooks`: who is told of the end of jobs, and what became of every event."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import output
from cli.client import ApiKey, BaseUrl, connect
from cli.files import Limit
from cli.home import DEFAULT_HOME, HomeOption
from core.statuses import ENDED

app = typer.Typer(
    help="Manage webhook endpoints and their deliveries, with an administrator's key.", no_args_is_help=True
)

ALL_EVENTS = [f"fine_tuning.job.{status}" for status in ENDED]
COLUMNS = ("id", "name", "url", "event_types", "enabled", "created_at")
DELIVERY_COLUMNS = (
    *("id", "event_type", "status", "attempts", "response_code", "last_attempt_at", "next_attempt_at"),
    "error",
)

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="whe_…")]
Event = Annotated[list[str], typer.Option("--event", help="Told of; may be given several times")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…")],
    name: Annotated[str, typer.Option(help="For people")] = "made by `tunery webhooks create`",
    event: Event = ALL_EVENTS,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Register a URL. Its signing secret is printed now, and never again."""
    with connect(home, base_url, api_key) as client:
        endpoint = client.post("/webhook_endpoints", {"name": name, "url": url, "event_types": event})
    _show_secret(endpoint, json)


@app.command("list")
def list_endpoints(
    limit: Limit = 20,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """List your project's endpoints."""
    with connect(home, base_url, api_key) as client:
        endpoints = list(client.every("/webhook_endpoints", limit))
    output.json(endpoints) if json else output.table(endpoints, COLUMNS)


@app.command()
def update(
    endpoint_id: EndpointId,
    name: Annotated[str | None, typer.Option()] = None,
    url: Annotated[str | None, typer.Option()] = None,
    event: Annotated[list[str] | None, typer.Option("--event", help="In place of all that it had")] = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="An endpoint that answers 410 disables itself")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Change an endpoint."""
    changes = {"name": name, "url": url, "event_types": event or None, "enabled": enable}
    given = {field: value for field, value in changes.items() if value is not None}
    with connect(home, base_url, api_key) as client:
        endpoint = client.post(_path(endpoint_id), given)
    output.json(endpoint) if json else output.record(endpoint, COLUMNS)


@app.command()
def delete(
    endpoint_id: EndpointId,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Delete an endpoint with its deliveries."""
    with connect(home, base_url, api_key) as client:
        answer = client.delete(_path(endpoint_id))
    output.json(answer) if json else output.note(f"Deleted {endpoint_id}")


@app.command()
def rotate(
    endpoint_id: EndpointId,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Sign with the old secret too, for 24 hours")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Make a new signing secret. It is printed now, and never again."""
    body = {"keep_old_secret_active_for_24_hours": keep_old}
    with connect(home, base_url, api_key) as client:
        endpoint = client.post(_path(endpoint_id, "rotate_secret"), body)
    _show_secret(endpoint, json)


@app.command("test")
def send_test(
    endpoint_id: EndpointId,
    event: Annotated[str, typer.Option(help="What to send a sample of")] = ALL_EVENTS[0],
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Send a sample event, once and now, and print what the endpoint answers."""
    with connect(home, base_url, api_key) as client:
        result = client.post(_path(endpoint_id, "test"), {"event_type": event})
    output.json(result) if json else output.data(f"The endpoint answered {result['status_code']}")


@app.command()
def deliveries(
    endpoint_id: EndpointId,
    limit: Limit = 20,
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """List an endpoint's events, with what became of them."""
    with connect(home, base_url, api_key) as client:
        found = list(client.every(_path(endpoint_id, "deliveries"), limit))
    output.json(found) if json else output.table(found, DELIVERY_COLUMNS)


@app.command()
def redeliver(
    endpoint_id: EndpointId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="whd_…")],
    home: HomeOption = DEFAULT_HOME,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    json: output.Json = False,
) -> None:
    """Send an event again."""
    path = _path(endpoint_id, f"deliveries/{quote(delivery_id, safe='')}/redeliver")
    with connect(home, base_url, api_key) as client:
        delivery = client.post(path)
    output.json(delivery) if json else output.record(delivery, DELIVERY_COLUMNS)


def _path(endpoint_id: str, below: str = "") -> str:
    return "/".join(filter(None, ("/webhook_endpoints", quote(endpoint_id, safe=""), below)))


def _show_secret(endpoint: dict[str, Any], json: bool) -> None:
    if json:
        output.json(endpoint)
        return
    output.data(endpoint["signing_secret"])
    output.note(f"The signing secret of {endpoint['id']}; keep it, it is not shown again.")
