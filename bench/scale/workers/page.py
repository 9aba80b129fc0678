"""Writes what was measured of many workers as a page."""

from __future__ import annotations

from typing import Any

from bench.pages.tables import markdown, shown
from worker.trainer.report.heartbeats import BEAT_SECONDS, SLOW_BEAT_SECONDS

MANY = 1000
RENEWAL = "renewal with a step"
DUTIES = (
    *("claim", RENEWAL, "renewal without news", "end of a job", "scan"),
    *("look for a job", "look for tasks", "look for trackers", "look for webhooks", "janitor"),
)


def page(found: dict[str, Any]) -> str:
    head = f"# Many workers, {found['date'][:10]}\n\n<!-- Written by bench/scale/workers/__main__.py. -->\n"
    parts = [head, _setting(found), _alone(found), _load(found), _together(found), _burst(found)]
    return "\n".join([*parts, _evidence(found), _polls(found), _for_prometheus(found), _bytes(found)])


def capacity(found: dict[str, Any]) -> str:
    """Return what the page for operators shows of it, a level deeper."""
    parts = [_setting(found), _load(found), _together(found), _burst(found), _bytes(found)]
    return "\n".join(parts).replace("\n## ", "\n### ")


def cores_for(found: dict[str, Any], measured: str = "alone") -> dict[str, float]:
    """Return the cores of Postgres that each duty of MANY workers takes, by its processor time."""
    return {
        name: MANY * per_second * found[measured][name]["postgres_ms"] / 1e3
        for name, per_second in found["per_worker"].items()
    }


def cores_while_slow(found: dict[str, Any]) -> dict[str, float]:
    """Return the same while Postgres is slow and renewals are as rare as they get, with as many steps."""
    cores = cores_for(found)
    bare = MANY * found["per_worker"][RENEWAL] * found["alone"]["renewal without news"]["postgres_ms"] / 1e3
    return cores | {RENEWAL: cores[RENEWAL] - bare * (1 - BEAT_SECONDS / SLOW_BEAT_SECONDS)}


def _setting(found: dict[str, Any]) -> str:
    rows = found["rows"]
    statements = "" if found["prepared"] else ", without prepared statements"
    return (
        f"{rows['jobs']:,} jobs, {rows['events']:,} events, {found['database_bytes'] / 1e9:.0f} GB. Postgres "
        f"{found['postgres']} set up as by `tunery up`, an API process, and the driver of all workers share "
        f"{found['cores']} cores of {found['cpu']}. The workers share {found['connections']} connections"
        f"{statements}. The load average of the minute before was {found['load_before']:.1f}. Commit "
        f"{found['commit']}, {found['date'][:10]}. Times are milliseconds.\n"
    )


def _alone(found: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{each['per_second']:.0f}",
            f"{each['median_ms']:.1f}",
            f"{each['p99_ms']:.1f}",
            f"{each['postgres_ms']:.2f}",
            f"{found['alone_prepared'][name]['postgres_ms']:.2f}",
            f"{each['driver_ms']:.2f}",
            f"{each['log_bytes'] / 1e3:.1f}",
        )
        for name in DUTIES
        if (each := found["alone"].get(name))
    ]
    heading = ("", "a second", "median", "p99", "Postgres, ms of a core", "prepared", "driver", "log, kB")
    return (
        "## Each call alone\n\nEight workers call, each one after the other. The processor time is that of "
        "all processes of Postgres, divided by the calls. Behind a pooler, workers prepare no statements; "
        "*prepared* is the same time without a pooler. The limit is the driver: one core of Python.\n\n"
        + markdown(heading, rows)
    )


def _load(found: dict[str, Any]) -> str:
    calls = {name: MANY * each for name, each in found["per_worker"].items()}
    columns = [cores_for(found), cores_while_slow(found), cores_for(found, "alone_prepared")]
    rows = [
        (name, f"{each:,.1f}", *(f"{cores[name]:.2f}" for cores in columns)) for name, each in calls.items()
    ]
    rows.append(("all", f"{sum(calls.values()):,.1f}", *(f"{sum(cores.values()):.2f}" for cores in columns)))
    return (
        f"## What {MANY:,} workers take\n\nComputed, not measured: the calls a second of {MANY:,} workers, "
        f"each with one job of {found['rates']['job']:.0f} s that writes two steps a second, times the "
        "processor time of each call alone. *While it is slow*, trainers renew a quarter as often, with four "
        "times as many steps. *Prepared*: without a pooler, if Postgres is not slow.\n\n"
        + markdown(("", "calls a second", "cores of Postgres", "while it is slow", "prepared"), rows)
    )


def _together(found: dict[str, Any]) -> str:
    rows = []
    for each in found["together"]:
        duties, by_project = each["duties"], each["running_by_project"]
        claim, renewal = duties.get("claim", {}), duties.get(RENEWAL, {})
        rows.append(
            (
                f"{each['workers']:,}",
                f"{each['stretch']:.1f}",
                f"{each['claimed']:,} after {each['claimed_seconds']:.1f} s",
                f"{each['per_second'].get('claim', 0):.1f}",
                shown(claim.get("median_ms"), ".1f"),
                shown(claim.get("p99_ms"), ".1f"),
                shown(renewal.get("p99_ms"), ".1f"),
                shown(each["polls"].get("p99_ms"), ".1f"),
                shown(each["late"].get("p99_ms"), ".1f"),
                f"{by_project['least']} to {by_project['most']}",
            )
        )
    heading = (
        *("workers", "rarer", "have a job", "claims/s", "claim, median", "p99", "renewal, p99"),
        *("poll, p99", "late, p99", "running jobs of a project"),
    )
    return (
        "## Side by side\n\nThe workers claim a few at a time. Then each trains one job after the other, "
        f"which end after {found['rates']['job']:.0f} s. Beside them, 50 clients poll the API, each two "
        "seconds after the last answer. *Rarer* says how many times as rarely as a real worker each does its "
        "other duties. *Late* is by how much the driver begins a call too late.\n\n" + markdown(heading, rows)
    )


def _burst(found: dict[str, Any]) -> str:
    each = found["burst"]
    return (
        f"## Burst\n\n{each['workers']:,} workers claim at the same moment, and do nothing else: "
        f"{each['claimed']:,} have a job after {each['seconds']:.1f} s, half of these after "
        f"{each.get('median_ms', 0) / 1e3:.1f} s. {each['failed']:,} claims failed.\n"
    )


def _evidence(found: dict[str, Any]) -> str:
    rows, waits = [], []
    for each in found["together"]:
        before, after = each["claims_before"], each["claims_after"]
        updates = after["n_tup_upd"] - before["n_tup_upd"]
        hot = (after["n_tup_hot_upd"] - before["n_tup_hot_upd"]) / max(1, updates)
        grown = (after["index_bytes"] - before["index_bytes"]) / 1e3
        rows.append(
            (
                f"{each['workers']:,}",
                f"{each['postgres_cores']:.2f}",
                f"{each['api_cores']:.2f}",
                f"{each['driver_cores']:.2f}",
                f"{each['valkey_cores']:.3f}",
                f"{each['log_bytes_per_second'] / 1e6:.2f}",
                f"{100 * hot:.0f} %",
                f"{grown:,.0f}",
            )
        )
        busy = ", ".join(f"{name} {count:.1f}" for name, count in each["busy_sessions"].items())
        failed = ", ".join(f"{count} of {name}" for name, count in each["failed"].items()) or "none"
        waits.append(f"- {each['workers']:,} workers: {busy}. Calls that failed: {failed}")
    heading = (
        *("workers", "Postgres, cores", "API", "driver", "Valkey", "log, MB/s"),
        *("updates of claims on their page", "their indexes grew, kB"),
    )
    return (
        "## Where the time goes\n\n"
        + markdown(heading, rows)
        + "\nSessions that are busy at a moment, by what they wait for (`Client: ClientRead` is a session "
        "whose driver computes between two statements):\n\n" + "\n".join(waits) + "\n"
    )


def _polls(found: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{each['per_second']:.0f}",
            f"{each['p99_ms']:.1f}",
            f"{each['postgres_ms']:.2f}",
            f"{each['api_ms']:.2f}",
        )
        for name, each in found["polls"].items()
    ]
    heading = ("", "a second", "p99", "Postgres, ms of a core", "API, ms of a core")
    return "## Polls alone\n\nFour clients ask one API process, without a pause.\n\n" + markdown(
        heading, rows
    )


def _for_prometheus(found: dict[str, Any]) -> str:
    rows = [
        (name, f"{each['median_ms']:.1f}", f"{each['most_ms']:.1f}")
        for name, each in found["for_prometheus"].items()
    ]
    return (
        "## What Prometheus asks\n\nEach API process asks this at most every five seconds, the ledger every "
        "minute.\n\n" + markdown(("", "median", "most"), rows)
    )


def _bytes(found: dict[str, Any]) -> str:
    rows = [
        (name, f"{each['rows']:,.0f}", f"{each['row_bytes']:.0f}", f"{each['index_bytes']:.0f}")
        for name, each in sorted(found["bytes"].items())
    ]
    return "## Bytes\n\n" + markdown(("", "rows", "bytes of a row", "of its entries in indexes"), rows)
