"""The supervisor, which must outlive whatever happens to its trainer."""

import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fixtures.api import Api, wait_for
from worker.supervisor import Supervisor

LISTENING_TRAINER = """#!/bin/sh
touch "{started}"
exec cat
"""


def test_a_trainer_that_cannot_be_started_is_tried_again(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, started = tmp_path / "python", tmp_path / "started"
    monkeypatch.setattr(sys, "executable", str(program))
    supervisor = Supervisor(api.settings, api.sessions)
    with capture_logs() as logs:
        supervisor.start()
        wait_for(lambda: any(entry["event"] == "supervision_failed" for entry in logs))
        program.write_text(LISTENING_TRAINER.format(started=started))
        program.chmod(0o700)
        wait_for(started.exists)
        supervisor.stop()
