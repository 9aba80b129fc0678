"""The commands of an operator: `tunery keys`, `tunery migrate`, `tunery doctor`."""

import json
import re
import subprocess
from typing import Any
from uuid import uuid4

import httpx
import pytest

from core.storage.object_store import ObjectStore
from tests.fixtures.service.api import Api
from tests.fixtures.service.servers import database_on
from tests.fixtures.service.shell import DEADLINE, Shell

# Keys and migrations


def test_makes_lists_and_revokes_keys(operator: Shell, api: Api) -> None:
    project = f"project-{uuid4().hex[:8]}"
    made = operator.run("keys", "create", "--project", project, "--name", "laptop")
    assert made.returncode == 0
    token = made.stdout.strip()
    assert token.startswith("tnr_")
    assert token not in made.stderr

    listing = operator.run("keys", "list", "--project", project, "--json")
    assert token not in listing.stdout
    (key,) = json.loads(listing.stdout)
    assert (key["project"], key["name"], key["revoked_at"]) == (project, "laptop", None)

    client = ["files", "list", "--json", "--base-url", api.url, "--api-key", token]
    assert operator.run(*client).returncode == 0
    assert operator.json("keys", "revoke", key["id"]) == {"id": key["id"], "revoked": True}
    refused = operator.run(*client)
    assert refused.returncode == 1
    assert "revoked" in refused.stderr


def test_a_key_has_a_role_and_may_expire(operator: Shell, api: Api) -> None:
    made = operator.json("keys", "create", "--project", "roles", "--role", "read-only", "--days", "30")
    (listed,) = operator.json("keys", "list", "--project", "roles")
    lifetime = listed["expires_at"] - listed["created_at"]
    assert (listed["role"], lifetime) == ("read-only", pytest.approx(30 * 24 * 3600, abs=5))
    upload = httpx.post(f"{api.url}/v1/files", headers={"authorization": f"Bearer {made['key']}"})
    assert upload.status_code == 403
    assert operator.run("keys", "create", "--role", "owner").returncode == 2


def test_the_secret_of_a_new_key_is_in_the_json_too(operator: Shell) -> None:
    made = operator.json("keys", "create", "--project", "json")
    assert made["key"].startswith(f"tnr_{made['id']}_")


def test_revoking_an_unknown_key_is_refused(operator: Shell) -> None:
    ended = operator.run("keys", "revoke", "0" * 32)
    assert ended.returncode == 1
    assert "tunery keys list" in ended.stderr


def test_keys_find_the_database_of_a_running_up(shell: Shell, database_url: str) -> None:
    home = shell.cwd / "state"
    home.mkdir()
    (home / "environment").write_text(f"AWS_ACCESS_KEY_ID=x\nTUNERY_DATABASE_URL={database_url}\n")
    assert shell.json("keys", "create", "--home", home)["key"]


def test_projects_have_quotas_use_and_a_log(operator: Shell) -> None:
    name = f"project-{uuid4().hex[:8]}"
    made = operator.json("projects", "create", name)
    assert operator.run("projects", "create", name).returncode == 1
    set_ = operator.json("projects", "quotas", name, "--queued-jobs", "5", "--stored-bytes", "1000")
    assert (set_["queued_jobs"], set_["stored_bytes"], set_["running_jobs"]) == (5, 1000, None)
    assert operator.json("projects", "quotas", name, "--queued-jobs", "default")["queued_jobs"] is None
    assert operator.run("projects", "quotas", name, "--queued-jobs", "many").returncode == 2
    assert made["id"] in {project["id"] for project in operator.json("projects", "list")}
    assert operator.json("projects", "usage", "--project", name) == []
    actions = [
        (entry["action"], entry["key_id"]) for entry in operator.json("projects", "audit", "--project", name)
    ]
    assert actions == [("project.updated", None), ("project.updated", None), ("project.created", None)]


def test_an_unreachable_database_is_exit_code_3(shell: Shell, closed_port: int) -> None:
    url = f"postgresql://somebody:secret@127.0.0.1:{closed_port}/none"
    for command in (["keys", "list"], ["migrate"]):
        ended = shell.run(*command, TUNERY_DATABASE_URL=url)
        assert (ended.returncode, ended.stdout) == (3, "")
        assert "secret" not in ended.stderr


def test_migrate_makes_the_tables_that_keys_ask_for(shell: Shell, servers: Any) -> None:
    with database_on(servers) as url:
        shell.variables["TUNERY_DATABASE_URL"] = url
        early = shell.run("keys", "list")
        assert early.returncode == 2
        assert "tunery migrate" in early.stderr
        assert shell.run("migrate").returncode == 0
        assert shell.json("keys", "list") == []


def test_migrate_makes_the_bucket_where_one_is_named(operator: Shell, servers: Any, closed_port: int) -> None:
    bucket = f"bucket-{uuid4().hex[:8]}"
    operator.variables |= servers.environment
    operator.variables |= {
        "TUNERY_S3_ENDPOINT_URL": servers.urls["s3_endpoint_url"],
        "TUNERY_S3_BUCKET": bucket,
    }
    assert operator.json("migrate") == {"migrated": True, "held_back": None}
    ObjectStore(servers.urls["s3_endpoint_url"], bucket).check()
    assert operator.json("migrate") == {"migrated": True, "held_back": None}

    half = operator.run("migrate", TUNERY_S3_BUCKET="")
    assert half.returncode == 2
    assert "TUNERY_S3_BUCKET" in half.stderr
    away = operator.run("migrate", TUNERY_S3_ENDPOINT_URL=f"http://127.0.0.1:{closed_port}")
    assert (away.returncode, away.stdout) == (3, "")


# Parts


def test_the_api_alone_listens_where_it_is_told_and_logs_json(
    operator: Shell, servers: Any, closed_port: int
) -> None:
    operator.variables |= of_servers(servers)
    options = ["--host", "127.0.0.2", "--port", str(closed_port), "--json"]
    with operator.running("api", *options) as running:
        logged = read_log(running, "Uvicorn running")
        answer = httpx.get(f"http://127.0.0.2:{closed_port}/readyz", timeout=30, trust_env=False)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{closed_port}/readyz", trust_env=False)
        running.terminate()
        printed, rest = running.communicate(timeout=DEADLINE)
    assert answer.json()["status"] == "ready"
    assert printed == ""
    assert all(json.loads(line)["level"] for line in [*logged, *rest.splitlines()])


def test_the_worker_alone_logs_json_also_what_its_libraries_say(operator: Shell, servers: Any) -> None:
    operator.variables |= of_servers(servers)
    with operator.running("worker", "--json") as running:
        logged = [json.loads(line) for line in read_log(running, "ready.")]
        running.terminate()
        running.communicate(timeout=DEADLINE)
    assert any(line.get("logger", "").startswith("celery") for line in logged)


def of_servers(servers: Any) -> dict[str, str]:
    """Return the settings of the servers, without the database."""
    urls = {f"TUNERY_{name.upper()}": url for name, url in servers.urls.items() if name != "database_url"}
    return urls | servers.environment


def read_log(running: subprocess.Popen[str], last: str) -> list[str]:
    """Return the lines of the process up to the line that contains `last`."""
    assert running.stderr is not None
    lines: list[str] = []
    while not (lines and last in lines[-1]):
        lines.append(running.stderr.readline())
        assert lines[-1], "it ended: " + "".join(lines)
    return lines


# Doctor


def test_doctor_says_of_each_part_what_is_wrong_and_what_to_do(tunery: Shell, closed_port: int) -> None:
    closed = f"127.0.0.1:{closed_port}"
    ended = tunery.run(
        "doctor",
        "--json",
        TUNERY_API_KEY="tnr_wrong",
        TUNERY_DATABASE_URL=f"postgresql://a:b@{closed}/x",
        TUNERY_BROKER_URL=f"redis://{closed}/0",
    )
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["ok"] is False
    broken = {name for name, check in checks.items() if check["state"] == "fail"}
    assert {"database", "broker", "object store", "API"} <= broken
    assert "tunery keys create" in checks["API"]["advice"]
    assert all(check["advice"] for check in checks.values() if check["state"] != "ok")
    assert {"Python", "torch", "memory", "disk", "GPU"} <= set(checks)


def test_doctor_knows_a_working_server_and_key(tunery: Shell, api: Api) -> None:
    shown = tunery.run("doctor")
    assert re.search(rf"✓ API +{api.url}/v1 answers", shown.stdout)
