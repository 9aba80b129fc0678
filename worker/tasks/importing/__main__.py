"""Imports the adapter that the command line names."""

from worker.tasks.frame.process import run_task
from worker.tasks.importing.importing import import_adapter, write_to_audit_log


def main() -> None:
    """Import it, or say in the database why it cannot be imported."""
    run_task(import_adapter, conclude=write_to_audit_log)


if __name__ == "__main__":
    main()
