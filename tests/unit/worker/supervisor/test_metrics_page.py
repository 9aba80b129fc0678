"""A worker's page for Prometheus, with the counts of a trainer that is another process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.monitoring import declared
from core.monitoring.declared import all_declared
from core.settings import Settings
from tests.fixtures.faults.disks import SmallDisk
from tests.fixtures.outside.prometheus import families, page, promtool, samples
from tests.fixtures.processes.ports import free_port
from worker.process.recorder import recorder
from worker.supervisor.losses import REASONS
from worker.supervisor.metrics_page import FOLDER_VARIABLE, empty, metrics_page

TRAINER = """
from core.monitoring import declared
from core.monitoring.recorder import Recorder
recorder = Recorder()
recorder.count(declared.TOKENS, {tokens})
recorder.set(declared.COHORT, {jobs})
recorder.observe(declared.CHECKPOINT_SECONDS, 0.3)
recorder.count(declared.SERVE_TOKENS, 5, kind="prompt")
"""


def train(folder: Path, tokens: int, jobs: int) -> None:
    """Let another process count, as a trainer does."""
    environment = {**os.environ, FOLDER_VARIABLE: str(folder)}
    subprocess.run(
        [sys.executable, "-c", TRAINER.format(tokens=tokens, jobs=jobs)], env=environment, check=True
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, worker_metrics_port=free_port())


def test_a_worker_shows_what_its_trainer_counts_and_a_new_trainer_begins_at_0(settings: Settings) -> None:
    with metrics_page(settings) as folder:
        assert folder is not None
        address = f"127.0.0.1:{settings.worker_metrics_port}"
        # This process is the supervisor here, and may have been a trainer in other tests
        own = samples(page(address)).get(("tunery_trainer_tokens_total",))
        train(folder, tokens=100, jobs=3)
        found = samples(page(address))
        assert found["tunery_trainer_tokens_total",] == 100
        assert found["tunery_trainer_cohort_jobs",] == 3
        assert found["tunery_trainer_checkpoint_seconds_bucket", "0.5"] == 1
        assert found["tunery_trainer_checkpoint_seconds_bucket", "0.1"] == 0
        assert found["tunery_trainer_checkpoint_seconds_count",] == 1
        train(folder, tokens=7, jobs=1)  # another process of the same trainer
        found = samples(page(address))
        assert (found["tunery_trainer_tokens_total",], found["tunery_trainer_cohort_jobs",]) == (107, 1)
        empty(folder)
        assert samples(page(address)).get(("tunery_trainer_tokens_total",)) == own
        train(folder, tokens=2, jobs=2)
        assert samples(page(address))["tunery_trainer_tokens_total",] == 2
    assert not folder.exists()


def test_what_a_server_in_the_trainer_counts_is_on_the_servers_own_page_alone(settings: Settings) -> None:
    with metrics_page(settings) as folder:
        assert folder is not None
        train(folder, tokens=1, jobs=1)
        assert "tunery_serve" not in page(f"127.0.0.1:{settings.worker_metrics_port}")


def test_the_page_has_the_disks_and_zeros_where_alerts_look_for_an_increase(settings: Settings) -> None:
    with metrics_page(settings):
        text = page(f"127.0.0.1:{settings.worker_metrics_port}")
        found = samples(text)
        names = {metric.name.removesuffix("_total") for metric in all_declared()}
        assert {family.name for family in families(text) if not family.name.startswith("process_")} <= names
        assert {("tunery_lease_losses_total", reason) for reason in REASONS} <= found.keys()
        for folder in ("models", "rows", "temporary"):
            assert 0 < found["tunery_disk_free_bytes", folder] < found["tunery_disk_bytes", folder]
        before = found["tunery_lease_losses_total", "killed"]
        recorder.count(declared.LEASE_LOSSES, 2, reason="killed")
        text = page(f"127.0.0.1:{settings.worker_metrics_port}")
        assert samples(text)["tunery_lease_losses_total", "killed"] == before + 2
        done = promtool("check", "metrics", input=text)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with (
        metrics_page(settings),
        pytest.raises(ConfigurationError, match=rf"port {settings.worker_metrics_port}.*_METRICS_PORT"),
        metrics_page(settings),
    ):
        pass


def test_a_full_disk_does_not_end_a_trainer_that_counts(
    settings: Settings,
    small_disk: Callable[[int], SmallDisk],
    temporary_files_in: Callable[[Path], None],
) -> None:
    disk = small_disk(1024**2)
    temporary_files_in(disk.folder)
    disk.fill()
    with metrics_page(settings) as folder:
        assert folder is not None
        train(folder, tokens=100, jobs=3)
        assert (
            samples(page(f"127.0.0.1:{settings.worker_metrics_port}"))["tunery_trainer_tokens_total",] == 100
        )


def test_without_the_setting_there_is_neither_a_page_nor_a_folder(tmp_path: Path) -> None:
    with metrics_page(Settings(home=tmp_path)) as folder:
        assert folder is None
