"""`tunery dashboard`: signs in to the dashboard without pasting a key."""

from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client
from cli.client.connection import connected


@connected
def dashboard(
    client: Client,
    json: bool,
    open_it: Annotated[bool, typer.Option("--open", help="Open the link in a browser here")] = False,
) -> None:
    """Print a link that signs in to the dashboard. It works once, for a quarter of an hour."""
    url = sign_in_url(client)
    if open_it:
        typer.launch(url)
    output.json({"url": url}) if json else output.data(url)


def sign_in_url(client: Client) -> str:
    """Return the address of a new sign-in link. Raises Refused if the key may not make links."""
    path: str = client.post("/session/links")["path"]
    return client.base_url.removesuffix("/v1") + path
