"""Kill a trainer in the middle of a job, and compare the job with one that nothing has disturbed.

    python -m bench.acceptance.resume --models .tunery/models --rows 64 --out resume.json

Both jobs run through a whole service with a checkpoint after each step. The killed one must go on from its
checkpoint and end with the same losses.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import psutil

from bench.command_line import add_models, add_result_file, new_parser, positive
from bench.training.service import (
    POLL_SECONDS,
    TRAINER,
    create,
    process_of,
    rounds,
    service,
    upload,
    wait,
)
from bench.training.workloads import rows_of
from cli.client.client import Client
from cli.client.errors import GaveUp

RANK, BATCH_SIZE = 8, 4
SETTINGS = {"TUNERY_CHECKPOINT_SECONDS": "0.001"}
LIMIT_SECONDS = 300.0


def main() -> None:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--rows", type=positive, default=64, help="rows of each job (default 64)")
    add_result_file(parser)
    given = parser.parse_args()
    rows = "".join(json.dumps(row) + "\n" for row in rows_of("gsm8k", None, given.rows))
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), given.models, SETTINGS) as (up, client),
    ):
        file = upload(client, rows)
        undisturbed = create(client, file, RANK, BATCH_SIZE)
        wait(client, [undisturbed])
        killed = create(client, file, RANK, BATCH_SIZE)
        step = kill_trainer(up, client, killed)
        wait(client, [killed])
        found = {
            "killed_after_step": step,
            "undisturbed": losses(client, undisturbed),
            "killed": losses(client, killed),
        }
    given.out.write_text(json.dumps(found, indent=1) + "\n")


def losses(client: Client, job_id: str) -> dict[int, float]:
    """Return the loss of each step. A step behind the last checkpoint is computed and told again."""
    return {int(each["step"]): each["train_loss"] for each in rounds(client, job_id)}


def kill_trainer(up: psutil.Process, client: Client, job_id: str) -> int:
    """Send SIGKILL to the trainer once the job has taken two steps. Returns the last step that was seen.

    Raises GaveUp if no step is seen in time.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        steps = rounds(client, job_id)
        if len(steps) > 1:
            if (trainer := process_of(up, TRAINER)) is not None:
                trainer.kill()
            return int(steps[-1]["step"])
        time.sleep(POLL_SECONDS)
    raise GaveUp(f"the job took no two steps within {LIMIT_SECONDS:.0f} seconds")


if __name__ == "__main__":
    main()
