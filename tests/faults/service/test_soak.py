"""The soak test of `make soak`, but short: a few jobs of a tiny base model, and every fault at least once."""

from pathlib import Path

import pytest

from bench.soak.plan import Plan
from bench.soak.registry import FAULTS
from bench.soak.soak import soak
from tests.fixtures.models.tiny import OTHER, TINY, write_base
from tests.fixtures.processes.resting import REST
from tests.fixtures.processes.warm import nursery
from tests.fixtures.service.servers import server_folder

SHORT = {"seconds": 12.0, "pace": 0.08, "jobs": 10, "epochs": 6, "at_once": 4, "projects": 2}
FAST = {"lease_seconds": 5.0, "scan_seconds": 0.5, "checkpoint_seconds": 2.0, "settle_seconds": 240.0}


@pytest.mark.exhaustive
def test_no_promise_is_broken_while_everything_breaks_at_random(tmp_path: Path) -> None:
    plan = Plan(seed=1, models=(TINY, OTHER), catalog=write_base(tmp_path), **SHORT, **FAST)
    with server_folder() as folder:
        report = soak(plan, folder, nursery().subprocess.Popen, **{REST: "0.05"})
        print(report.as_text())
    struck = {(family, name) for family, by_name in report.faults.items() for name in by_name}
    assert {(fault.family, fault.name) for fault in FAULTS} <= struck
    assert report.jobs["succeeded"] > 0
    assert report.violations == [], report.as_text()
