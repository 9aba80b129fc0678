"""`tunery slurm`: keeps as many workers in Slurm as the queue needs."""

from typing import Annotated

import typer

from cli.client import output
from cli.client.database import open_database
from cli.client.home import load_settings

Once = Annotated[bool, typer.Option("--once", help="Look once, print what was done, and end")]
JSON_HELP = "Log one JSON object on each line; with --once, print one"


def slurm(once: Once = False, json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Submit workers to Slurm while there is work, from TUNERY_* settings. They end when there is none."""
    from cli.slurm.controller import control, look
    from cli.slurm.fleets import read_fleets
    from core.process.logs import configure_logs

    settings = load_settings(log_json=json or None)
    fleets = read_fleets(settings.slurm_file)
    configure_logs(settings.log_level, settings.log_json)
    with open_database(settings.server("database_url")) as engine:
        if not once:
            control(engine, fleets, settings.project_jobs, settings.slurm_seconds)
            return
        made = look(engine, fleets, settings.project_jobs)
    done = {
        "wanted": made.wanted,
        "submitted": [submission.name for submission in made.submissions],
        "cancelled": made.cancellations,
    }
    output.json(done) if json else output.note(
        f"Wanted: {made.wanted}. Submitted: {len(made.submissions)}. Cancelled: {len(made.cancellations)}"
    )
