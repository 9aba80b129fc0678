"""Makes the export that the command line names."""

from worker.exports.export import make_export
from worker.tasks.process import run_task

if __name__ == "__main__":
    run_task(make_export)
