"""How much there is to do for workers. The Helm chart asks KEDA to run the same statement."""

from importlib.resources import files

from sqlalchemy import Connection, text

WORK = text((files("cli.slurm") / "work.sql").read_text("utf-8"))


def work(connection: Connection, project_jobs: int | None, devices: int, tasks: bool) -> int:
    """Return how many jobs workers of a device class may run now.

    With `tasks`, it is at least 1 if tasks are open or webhooks are due.
    """
    asked = {"devices": devices, "project_jobs": project_jobs, "tasks": tasks}
    return int(connection.scalar(WORK, asked) or 0)
