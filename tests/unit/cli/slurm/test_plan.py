"""Which workers are submitted to Slurm, and which are cancelled."""

import re
from pathlib import Path

import pytest

from cli.slurm.demand import Demand
from cli.slurm.fleets import Fleet, read_fleets
from cli.slurm.plan import Plan, SlurmJob, plan
from core.errors import ConfigurationError
from tests.fixtures.paths import REPOSITORY
from worker.process import stop_times

CONFIGURATION = (REPOSITORY / "operate/slurm/slurm.conf").read_text()


def planned(
    fleets: dict[str, Fleet], jobs: dict[int, int], *known: SlurmJob, busy: int = 0, open_tasks: bool = False
) -> Plan:
    """Return the plan for so many waiting jobs of each device class."""
    return plan(fleets, lambda devices: Demand(jobs.get(devices, 0), open_tasks, busy), list(known))


def submitted(made: Plan) -> list[str]:
    return [submission.name for submission in made.submissions]


def running(number: int, name: str) -> SlurmJob:
    return SlurmJob(number, name, "RUNNING", "None")


def waiting(number: int, name: str, reason: str = "Resources") -> SlurmJob:
    return SlurmJob(number, name, "PENDING", reason)


def test_workers_follow_the_jobs_up_to_the_limit_and_down_to_none() -> None:
    fleets = {"gpu": Fleet(max=3)}
    assert submitted(planned(fleets, {})) == []
    assert submitted(planned(fleets, {1: 2})) == ["tunery-gpu-1", "tunery-gpu-2"]
    assert len(submitted(planned(fleets, {1: 9}))) == 3
    assert submitted(planned({"gpu": Fleet(max=3, target=4)}, {1: 5})) == ["tunery-gpu-1", "tunery-gpu-2"]


def test_workers_that_train_ask_for_no_more_however_many_jobs_they_train() -> None:
    fleets = {"gpu": Fleet(max=8)}
    training = running(1, "tunery-gpu-1")
    assert submitted(planned(fleets, {}, training, busy=1)) == [], "a cohort of jobs, of which none waits"
    assert submitted(planned(fleets, {}, busy=3)) == [], "workers that Slurm does not know"
    assert submitted(planned(fleets, {1: 2}, training, busy=1)) == ["tunery-gpu-2", "tunery-gpu-3"]


def test_a_worker_that_runs_and_trains_nothing_takes_a_waiting_job_before_another_is_submitted() -> None:
    fleets = {"first": Fleet(max=8), "second": Fleet(max=8)}
    known = [running(1, "tunery-first-1"), running(2, "tunery-second-1")]
    made = planned(fleets, {1: 2}, *known, busy=1)
    assert submitted(made) == ["tunery-first-2"]
    assert made.wanted == {"first": 2, "second": 1}
    assert submitted(planned(fleets, {1: 1}, *known, busy=1)) == []
    assert planned(fleets, {1: 1}, *known, waiting(3, "tunery-first-2"), busy=1).cancellations == [3]


def test_a_worker_that_was_requeued_stays_while_the_leases_of_its_jobs_last() -> None:
    fleets = {"gpu": Fleet(max=8)}
    requeued = waiting(1, "tunery-gpu-1", "BeginTime")
    assert planned(fleets, {}, requeued, busy=1).cancellations == []
    assert planned(fleets, {}, requeued, running(2, "tunery-gpu-2"), busy=1).cancellations == [1]


def test_what_is_submitted_already_is_not_submitted_again() -> None:
    fleets = {"gpu": Fleet(max=3)}
    known = [running(1, "tunery-gpu-1"), waiting(2, "tunery-gpu-3")]
    assert submitted(planned(fleets, {1: 2}, *known)) == []
    assert submitted(planned(fleets, {1: 3}, *known)) == ["tunery-gpu-2"]


def test_jobs_of_other_fleets_do_not_count() -> None:
    fleets = {"gpu": Fleet(), "gpu-2": Fleet(devices=2)}
    known = [running(1, "tunery-gpu-2-1"), running(2, "tunery-gpu-2"), running(3, "tunery-other-1")]
    assert submitted(planned(fleets, {1: 2, 2: 1}, *known)) == ["tunery-gpu-1"]


def test_a_worker_that_runs_is_never_cancelled_and_one_that_waits_is_if_it_is_too_much() -> None:
    fleets = {"gpu": Fleet(max=4)}
    known = [waiting(4, "tunery-gpu-1"), running(2, "tunery-gpu-2"), waiting(3, "tunery-gpu-3")]
    made = planned(fleets, {1: 2}, *known)
    assert (made.cancellations, made.submissions) == ([3], [])
    assert sorted(planned(fleets, {}, *known).cancellations) == [3, 4]


def test_of_two_submissions_of_one_seat_the_later_one_is_cancelled_by_whoever_looks() -> None:
    fleets = {"gpu": Fleet()}
    twice = [waiting(8, "tunery-gpu-1", "Dependency"), waiting(7, "tunery-gpu-1")]
    assert planned(fleets, {1: 1}, *twice).cancellations == [8]
    restarted = [waiting(7, "tunery-gpu-1", "Dependency"), running(8, "tunery-gpu-1")]
    assert planned(fleets, {1: 1}, *restarted).cancellations == [7]


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL"])
def test_a_worker_that_has_ended_is_replaced_at_once(state: str) -> None:
    ended = SlurmJob(1, "tunery-gpu-1", state, "None")
    assert submitted(planned({"gpu": Fleet()}, {1: 1}, ended)) == ["tunery-gpu-1"]


def test_a_fleet_whose_workers_fail_tries_each_seat_once_and_then_leaves_the_jobs_to_the_next_fleet() -> None:
    fleets = {"broken": Fleet(max=2), "next": Fleet(max=2)}
    one = SlurmJob(1, "tunery-broken-1", "FAILED", "NonZeroExitCode")
    made = planned(fleets, {1: 2}, one)
    assert submitted(made) == ["tunery-broken-2", "tunery-next-1"]
    assert made.stuck == {"broken": [one], "next": []}
    two = SlurmJob(2, "tunery-broken-2", "OUT_OF_MEMORY", "OutOfMemory")
    assert submitted(planned(fleets, {1: 2}, one, two)) == ["tunery-next-1", "tunery-next-2"]


@pytest.mark.parametrize("state", ["SPECIAL_EXIT", "STOPPED", "SUSPENDED", "A_STATE_OF_A_LATER_SLURM"])
def test_a_worker_that_does_not_go_on_by_itself_is_none_and_a_person_is_told(state: str) -> None:
    stuck = SlurmJob(1, "tunery-gpu-1", state, "None")
    made = planned({"gpu": Fleet()}, {1: 1}, stuck)
    assert (submitted(made), made.stuck) == (["tunery-gpu-2"], {"gpu": [stuck]})


@pytest.mark.parametrize(
    "reason",
    [
        "BadConstraints",
        "PartitionTimeLimit",
        "DependencyNeverSatisfied",
        "InvalidQOS",
        "JobHeldUser",
        "QOSMaxCpuPerJobLimit",
        "AssocMaxNodePerJobLimit",
    ],
)
def test_a_worker_that_will_never_begin_is_none_and_a_person_is_told(reason: str) -> None:
    stuck = waiting(1, "tunery-gpu-1", reason)
    made = planned({"gpu": Fleet()}, {1: 1}, stuck)
    assert (submitted(made), made.stuck) == (["tunery-gpu-2"], {"gpu": [stuck]})
    assert made.cancellations == []


@pytest.mark.parametrize(
    "reason",
    [
        "None",
        "Resources",
        "BeginTime",
        "ReqNodeNotAvail, UnavailableNodes:node1",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        "QOSGrpCpuLimit",
        "QOSMaxJobsPerUserLimit",
        "AssocGrpGRES",
    ],
)
def test_a_worker_that_waits_for_room_is_not_submitted_again(reason: str) -> None:
    made = planned({"gpu": Fleet()}, {1: 1}, waiting(1, "tunery-gpu-1", reason))
    assert (submitted(made), made.stuck) == ([], {"gpu": []})


def test_a_worker_that_ends_or_is_held_is_none_but_its_seat_is_not_free() -> None:
    ending = SlurmJob(1, "tunery-gpu-1", "COMPLETING", "None")
    held = waiting(2, "tunery-gpu-2", "JobHeldUser")
    made = planned({"gpu": Fleet(max=3)}, {1: 3}, ending, held)
    assert submitted(made) == ["tunery-gpu-3"]
    assert made.cancellations == [], "a person holds it on purpose"


def test_fleets_of_one_device_class_share_its_jobs_in_the_order_of_the_file() -> None:
    fleets = {"h100": Fleet(max=2), "l4": Fleet(max=8), "group": Fleet(devices=2, nodes=2)}
    made = planned(fleets, {1: 5, 2: 1})
    assert made.wanted == {"h100": 2, "l4": 3, "group": 1}


def test_open_tasks_start_a_worker_of_the_first_fleet_that_takes_them() -> None:
    fleets = {"gpu": Fleet(tasks=False), "cpu": Fleet()}
    assert submitted(planned(fleets, {}, open_tasks=True)) == ["tunery-cpu-1"]
    assert submitted(planned(fleets, {1: 1}, open_tasks=True)) == ["tunery-gpu-1"], "it does the tasks too"
    busy = running(1, "tunery-cpu-1")
    assert submitted(planned(fleets, {}, busy, busy=1, open_tasks=True)) == [], "it does them beside its job"
    assert planned(fleets, {}, waiting(1, "tunery-cpu-1"), open_tasks=True).cancellations == []


def test_as_many_workers_as_min_says_stay_and_the_others_end_when_they_are_idle() -> None:
    made = planned({"gpu": Fleet(min=1)}, {1: 2})
    assert [(each.seat, each.ends_when_idle) for each in made.submissions] == [(1, False), (2, True)]
    assert submitted(planned({"gpu": Fleet(min=1)}, {})) == ["tunery-gpu-1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "script: Field required"),
        ("[workers.a]\ndevices = 3\nnodes = 2", "workers.a: .*3 devices cannot be divided evenly among 2"),
        ("[workers.a]\nmin = 5", "workers.a: .*min is 5, but max is 4"),
        ("[workers.a]\nmost = 5", "workers.a.most: Extra"),
        ("[workers.A]", "workers.A"),
        ('[workers.a]\nsbatch = ["--array=1-3"]', "workers.a: .*--array=1-3 cannot be used"),
        ("[workers]", "workers: Dictionary should have at least 1 item"),
        ("[workers", "cannot be read"),
        ("[workers.a]", "script: there is no file /nowhere/worker.sh"),
    ],
)
def test_a_file_that_is_wrong_is_told_where(tmp_path: Path, text: str, told: str) -> None:
    head = 'script = "/nowhere/worker.sh"\nenvironment = "/etc/tunery/worker.env"\n'
    (file := tmp_path / "slurm.toml").write_text(head + text if text else text)
    with pytest.raises(ConfigurationError, match=told):
        read_fleets(file)


def test_the_example_is_right(tmp_path: Path) -> None:
    text = (REPOSITORY / "operate/slurm/slurm.toml").read_text()
    script = REPOSITORY / "operate/slurm/worker.sh"
    (file := tmp_path / "slurm.toml").write_text(text.replace("/opt/tunery/worker.sh", str(script)))
    assert set(read_fleets(file).workers) == {"h100", "l4", "two-nodes"}


@pytest.mark.parametrize("name", ["KillWait", "GraceTime"])
def test_the_example_gives_a_worker_longer_than_it_needs_to_stop(name: str) -> None:
    (seconds,) = re.findall(rf"\b{name}=(\d+)", CONFIGURATION)
    assert int(seconds) > stop_times.WORKER
