"""The command line `tunery`.

    exit code   meaning
    0           done; for `up`: stopped on request
    1           refused: the server's error is printed; or `up` gave up, or `doctor`, `secrets reseal`,
                `backup` or `restore` found a fault
    2           usage: a wrong option or setting
    3           unreachable: no answer from the address of the server or of the database
    4           the job that was watched (`jobs wait`, `jobs logs -f`, `jobs create --wait`) has failed
    5           the job that was watched was cancelled
    6           the job that was watched is paused: it does not go on by itself
    130         interrupted by Ctrl-C

Data is printed on stdout, progress and errors on stderr. With --json, the last error is JSON too.
"""

import sys
from typing import Annotated

import typer

from cli.client import output
from cli.client.errors import CommandError
from cli.commands import (
    aliases,
    backups,
    chat,
    dashboard,
    doctor,
    from_openai,
    keys,
    methods,
    projects,
    secrets,
    size,
    slurm,
    sweeps,
    webhooks,
)
from cli.commands.adapters import command as adapters
from cli.commands.evals import command as evals
from cli.commands.evals import evaluate
from cli.commands.files import command as files
from cli.commands.jobs import command as jobs
from cli.commands.models import command as models
from cli.demo import command as demo
from cli.up import command as up
from cli.up import programs
from core.errors import ConfigurationError, TuneryError

EXIT_CODES = (
    "Exit codes: 0 done, 1 refused by the server (or something is broken), 2 wrong option or setting, "
    "3 server unreachable, 4 the work that was waited for failed, 5 it was cancelled, 6 the job is paused, "
    "130 interrupted. "
    "Data goes to stdout, progress and errors to stderr."
)

app = typer.Typer(
    help="Tunery: self-hosted fine-tuning behind OpenAI's wire format.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        output.data(f"tunery {version('tunery')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Options of `tunery` itself."""


SERVICE = "The service"
CLIENT = "A client of it"

app.command(rich_help_panel=SERVICE)(up.up)
app.command(rich_help_panel=SERVICE)(programs.api)
app.command(rich_help_panel=SERVICE)(programs.worker)
app.command(rich_help_panel=SERVICE)(programs.serve)
app.command(rich_help_panel=SERVICE)(programs.migrate)
app.command(rich_help_panel=SERVICE)(slurm.slurm)
app.command(rich_help_panel=SERVICE)(doctor.doctor)
app.command(rich_help_panel=SERVICE)(backups.backup)
app.command(rich_help_panel=SERVICE)(backups.restore)
app.command(rich_help_panel=SERVICE)(demo.demo)
app.command(rich_help_panel=SERVICE)(size.size)
app.add_typer(models.app, name="models", rich_help_panel=SERVICE)
app.add_typer(projects.app, name="projects", rich_help_panel=SERVICE)
app.add_typer(keys.app, name="keys", rich_help_panel=SERVICE)
app.command(rich_help_panel=CLIENT)(dashboard.dashboard)
app.command(rich_help_panel=CLIENT)(chat.chat)
app.add_typer(files.app, name="files", rich_help_panel=CLIENT)
app.add_typer(jobs.app, name="jobs", rich_help_panel=CLIENT)
app.add_typer(sweeps.app, name="sweeps", rich_help_panel=CLIENT)
app.command(rich_help_panel=CLIENT)(methods.methods)
app.add_typer(adapters.app, name="adapters", rich_help_panel=CLIENT)
app.command(rich_help_panel=CLIENT)(evaluate.evaluate)
app.add_typer(evals.app, name="evals", rich_help_panel=CLIENT)
app.command("from-openai", rich_help_panel=CLIENT)(from_openai.from_openai)
app.add_typer(aliases.app, name="aliases", rich_help_panel=CLIENT)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=CLIENT)
app.add_typer(secrets.app, name="secrets", rich_help_panel=CLIENT)


def main() -> None:
    """Run the command. If it raises an error, end with the exit code of that error."""
    try:
        app()
    except TuneryError as error:
        code = exit_code(error)
        output.error(error, code, as_json="--json" in sys.argv)
        raise SystemExit(code) from error


def exit_code(error: TuneryError) -> int:
    if isinstance(error, CommandError):
        return error.exit_code
    return 2 if isinstance(error, ConfigurationError) else 1


if __name__ == "__main__":
    main()
