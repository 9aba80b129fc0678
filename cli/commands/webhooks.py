"""`tunery webhooks`: manages the URLs that are told when jobs end, and shows each delivery."""

from typing import Annotated, Any

import typer

from cli.client import output
from cli.client.client import Client, path_to, without_none
from cli.client.connection import connected
from cli.commands.files.command import Limit
from core.statuses import ENDED

app = typer.Typer(
    help="Manage webhook endpoints and their deliveries, with an administrator's key.", no_args_is_help=True
)

ENDPOINTS = "/webhook_endpoints"
ALL_EVENTS = [f"fine_tuning.job.{status}" for status in ENDED]
COLUMNS = ("id", "name", "url", "event_types", "enabled", "created_at")
DELIVERY_COLUMNS = (
    *("id", "event_type", "status", "attempts", "response_code", "last_attempt_at", "next_attempt_at"),
    "error",
)

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="whe_…")]
Event = Annotated[list[str], typer.Option("--event", help="An event to send; may be repeated")]


@app.command()
@connected
def create(
    client: Client,
    json: bool,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…")],
    name: Annotated[str, typer.Option(help="A name for people")] = "made by `tunery webhooks create`",
    event: Event = ALL_EVENTS,
) -> None:
    """Register a URL. Its signing secret is printed only now."""
    endpoint = client.post(ENDPOINTS, {"name": name, "url": url, "event_types": event})
    _show_secret(endpoint, json)


@app.command("list")
@connected
def list_endpoints(client: Client, json: bool, limit: Limit = 20) -> None:
    """List your project's endpoints."""
    endpoints = list(client.every(ENDPOINTS, limit))
    output.json(endpoints) if json else output.table(endpoints, COLUMNS)


@app.command()
@connected
def update(
    client: Client,
    json: bool,
    endpoint_id: EndpointId,
    name: Annotated[str | None, typer.Option()] = None,
    url: Annotated[str | None, typer.Option()] = None,
    event: Annotated[list[str] | None, typer.Option("--event", help="Replaces all of its events")] = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="An endpoint that answers 410 disables itself")
    ] = None,
) -> None:
    """Change an endpoint."""
    changes = without_none(name=name, url=url, event_types=event or None, enabled=enable)
    endpoint = client.post(path_to(ENDPOINTS, endpoint_id), changes)
    output.json(endpoint) if json else output.record(endpoint, COLUMNS)


@app.command()
@connected
def delete(client: Client, json: bool, endpoint_id: EndpointId) -> None:
    """Delete an endpoint with its deliveries."""
    answer = client.delete(path_to(ENDPOINTS, endpoint_id))
    output.json(answer) if json else output.note(f"Deleted {endpoint_id}")


@app.command()
@connected
def rotate(
    client: Client,
    json: bool,
    endpoint_id: EndpointId,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Sign with the old secret too, for 24 hours")
    ] = False,
) -> None:
    """Make a new signing secret. It is printed only now."""
    body = {"keep_old_secret_active_for_24_hours": keep_old}
    endpoint = client.post(path_to(ENDPOINTS, endpoint_id, "rotate_secret"), body)
    _show_secret(endpoint, json)


@app.command("test")
@connected
def send_test(
    client: Client,
    json: bool,
    endpoint_id: EndpointId,
    event: Annotated[str, typer.Option(help="The event to send a sample of")] = ALL_EVENTS[0],
) -> None:
    """Send a sample event once, and print the endpoint's answer."""
    result = client.post(path_to(ENDPOINTS, endpoint_id, "test"), {"event_type": event})
    output.json(result) if json else output.data(f"The endpoint answered {result['status_code']}")


@app.command()
@connected
def deliveries(client: Client, json: bool, endpoint_id: EndpointId, limit: Limit = 20) -> None:
    """List an endpoint's events with their delivery status."""
    found = list(client.every(path_to(ENDPOINTS, endpoint_id, "deliveries"), limit))
    output.json(found) if json else output.table(found, DELIVERY_COLUMNS)


@app.command()
@connected
def redeliver(
    client: Client,
    json: bool,
    endpoint_id: EndpointId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="whd_…")],
) -> None:
    """Send an event again."""
    delivery = client.post(path_to(ENDPOINTS, endpoint_id, "deliveries", delivery_id, "redeliver"))
    output.json(delivery) if json else output.record(delivery, DELIVERY_COLUMNS)


def _show_secret(endpoint: dict[str, Any], json: bool) -> None:
    if json:
        output.json(endpoint)
        return
    output.data(endpoint["signing_secret"])
    output.note(f"The signing secret of {endpoint['id']}; keep it, it is not shown again.")
