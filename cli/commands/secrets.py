"""`tunery secrets`: manages a project's secrets, such as a tracker's key, and the keys that encrypt them."""

import sys
from typing import Annotated

import typer

from cli.client import output
from cli.client.client import Client, path_to
from cli.client.connection import connected
from cli.client.errors import GaveUp
from cli.client.home import DEFAULT_HOME, Home, HomeOption, load_settings, read
from cli.commands.files.command import Limit
from cli.commands.keys import database_session
from core.errors import ConfigurationError

app = typer.Typer(
    help="Set, list and delete a project's secrets, with an administrator's key. They are never shown again.",
    no_args_is_help=True,
)

COLUMNS = ("name", "hosts", "created_at", "updated_at")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name such as WANDB_API_KEY")]


@app.command("set")
@connected
def set_secret(
    client: Client,
    json: bool,
    name: Name,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Bind the secret to a host, such as api.wandb.ai or *.example.com; repeatable. A new secret "
            "without it goes only to hosts that the operator has chosen, and to AWS",
            metavar="HOST",
        ),
    ] = None,
) -> None:
    """Store or replace a secret. The value is asked for, or read from a pipe; it is never an argument."""
    interactive = sys.stdin.isatty()
    value = typer.prompt("Value", hide_input=True, err=True) if interactive else sys.stdin.read().rstrip("\n")
    bound = {"hosts": host} if host else {}
    secret = client.post("/secrets", {"name": name, "value": value, **bound})
    output.json(secret) if json else output.note(f"Stored {name}")


@app.command("list")
@connected
def list_secrets(client: Client, json: bool, limit: Limit = 100) -> None:
    """List the names of the stored secrets."""
    secrets = list(client.every("/secrets", limit))
    output.json(secrets) if json else output.table(secrets, COLUMNS)


@app.command()
@connected
def delete(client: Client, json: bool, name: Name) -> None:
    """Delete a secret."""
    answer = client.delete(path_to("/secrets", name))
    output.json(answer) if json else output.note(f"Deleted {name}")


@app.command()
def keygen(json: output.Json = False) -> None:
    """Print a new key for TUNERY_SECRET_KEYS."""
    from core.secrets.vault import Vault

    key = Vault.new_key()
    output.json({"key": key}) if json else output.data(key)


@app.command()
def reseal(home: HomeOption = DEFAULT_HOME, json: output.Json = False) -> None:
    """Encrypt all stored secrets with the first of TUNERY_SECRET_KEYS, directly in the database.

    Afterwards the other keys can be removed. If none of the keys opens a secret, the command names the secret
    and leaves it as it is.
    """
    from cli.commands.reseal import reseal_all
    from core.secrets.vault import Vault

    vault = Vault(_keys(home))
    with database_session(home) as session:
        done = reseal_all(session, vault)
    if json:
        output.json({"resealed": done.count, "unreadable": done.unreadable})
    else:
        output.note(f"Encrypted {done.count} secrets with the first key")
    if done.unreadable:
        raise GaveUp(
            f"None of the keys opens {'; '.join(done.unreadable)}. Add the key to TUNERY_SECRET_KEYS and "
            "repeat this; if it is lost, set the secret again or rotate the endpoint's"
        )


def _keys(home: "HomeOption") -> str:
    """Return the keys. Raises ConfigurationError if there are none."""
    settings = load_settings(home=home)
    keys = settings.secret_keys.get_secret_value() if settings.secret_keys else read(Home(home).secret_keys)
    if keys is None:
        raise ConfigurationError("No key: set TUNERY_SECRET_KEYS, or name the --home of a `tunery up`")
    return keys
