"""What `tunery slurm` says to Slurm's commands, and reads from them."""

import pytest
from pydantic import ValidationError

from cli.slurm.commands import read_job
from cli.slurm.fleets import Fleet
from cli.slurm.plan import SlurmJob


@pytest.mark.parametrize(
    "option",
    [
        "--array=1-3",
        "--arr",
        "-a1-3",
        "-M",
        "-Mother",
        "--clusters=all",
        "--clus",
        "-W",
        "--wait",
        "--uid=7",
        ":",
    ],
)
def test_options_with_which_a_worker_is_not_found_again_are_refused(option: str) -> None:
    with pytest.raises(ValidationError, match="cannot be used here, because"):
        Fleet(sbatch=("--partition=low", option))


def test_other_options_are_not_refused() -> None:
    names = (
        "--account=a",
        "-A",
        "a",
        "--cluster-constraint=x",
        "--wait-all-nodes=1",
        "-w",
        "node1",
        "--mem=64G",
    )
    assert Fleet(sbatch=names).sbatch == names


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("7|RUNNING|None|tunery-gpu-1", SlurmJob(7, "tunery-gpu-1", "RUNNING", "None")),
        ("7_1|RUNNING|None|tunery-gpu-1", None),
        ("7+0|RUNNING|None|tunery-gpu-1", None),
        ("7|RUNNING|None|notebook", None),
        ("slurm_load_jobs error: Socket timed out", None),
        ("7|RUNNING", None),
        ("", None),
    ],
)
def test_a_line_of_squeue_that_is_no_worker_is_passed_over(line: str, job: SlurmJob | None) -> None:
    assert read_job(line) == job
