"""Makes the export that the command line names."""

from worker.tasks.export.export import make_export
from worker.tasks.export.push.destination import push_export
from worker.tasks.frame.process import run_task


def main() -> None:
    """Make it and push it, or say in the database why it cannot be made."""
    run_task(make_export, push_export)


if __name__ == "__main__":
    main()
