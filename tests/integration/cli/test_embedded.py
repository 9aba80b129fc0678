"""The embedded servers, with real processes: they survive stops, crashes and interruptions."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
import redis
import sqlalchemy
from botocore.config import Config
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.embedded import EmbeddedServers
from cli.embedded.process import HOST
from cli.embedded.s3 import GRPC_OFFSET, S3, socket_files
from core.database import create_database
from core.errors import ConfigurationError
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.servers import server_folder

OWNER = """
import json, signal, sys
from pathlib import Path
from cli.embedded import EmbeddedServers
with EmbeddedServers(Path(sys.argv[1])) as servers:
    print(json.dumps({"urls": servers.urls, "environment": servers.environment}), flush=True)
    signal.pause()
"""
MARK = b"kept"


def s3_client(urls: dict[str, str], environment: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=urls["s3_endpoint_url"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
        config=Config(signature_version="s3v4", proxies={}, retries={"total_max_attempts": 1}),
    )


def broker(urls: dict[str, str]) -> redis.Redis:
    return redis.Redis.from_url(urls["broker_url"], socket_timeout=30, retry=Retry(NoBackoff(), 0))


def sql(urls: dict[str, str], statement: str) -> Any:
    engine = create_database(urls["database_url"], pool_size=1)
    try:
        with engine.begin() as connection:
            result = connection.execute(sqlalchemy.text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def leave_marks(urls: dict[str, str], environment: dict[str, str]) -> None:
    sql(urls, "DROP TABLE IF EXISTS mark")
    sql(urls, "CREATE TABLE mark AS SELECT 'kept' AS value")
    s3_client(urls, environment).put_object(Bucket=urls["s3_bucket"], Key="mark", Body=MARK)


def marks(servers: EmbeddedServers) -> tuple[Any, bytes]:
    row = sql(servers.urls, "SELECT value FROM mark")
    stored = s3_client(servers.urls, servers.environment).get_object(
        Bucket=servers.urls["s3_bucket"], Key="mark"
    )
    return row, stored["Body"].read()


def answers(servers: EmbeddedServers) -> None:
    assert sql(servers.urls, "SELECT 1") == 1
    assert broker(servers.urls).ping()
    s3_client(servers.urls, servers.environment).head_bucket(Bucket=servers.urls["s3_bucket"])


def processes_in(home: Path) -> list[psutil.Process]:
    """Return every process whose working folder is in `home`."""

    def works_there(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(home)
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if works_there(process)]


@contextmanager
def owner_of(home: Path, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    """Run the servers in `home` from another process, which has a process group of its own."""
    owner = subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNER, str(home)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield owner
    finally:
        owner.kill()
        owner.communicate()
        for process in processes_in(home):
            process.kill()
        S3(home, 0, access_key="", secret_key="").stop()  # removes its socket files


def announced(owner: subprocess.Popen[str]) -> dict[str, dict[str, str]]:
    assert owner.stdout is not None
    addresses: dict[str, dict[str, str]] = json.loads(owner.stdout.readline())
    return addresses


@pytest.fixture
def home() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder / "home"


def test_all_three_answer(servers: EmbeddedServers) -> None:
    answers(servers)


def test_the_application_is_no_superuser_but_may_create_databases(servers: EmbeddedServers) -> None:
    rights = "SELECT rolcreatedb AND NOT rolsuper FROM pg_roles WHERE rolname = current_user"
    assert sql(servers.urls, rights) is True


def test_fsync_is_on(servers: EmbeddedServers) -> None:
    assert sql(servers.urls, "SHOW fsync") == "on"
    assert sql(servers.urls, "SHOW synchronous_commit") == "on"


def test_no_server_lets_in_a_client_without_its_password(servers: EmbeddedServers) -> None:
    url = sqlalchemy.make_url(servers.urls["database_url"])
    for user in ("tunery", "postgres"):
        wrong = url.set(username=user, password="wrong").render_as_string(hide_password=False)
        with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
            sql({"database_url": wrong}, "SELECT 1")
    without_password = sqlalchemy.make_url(servers.urls["broker_url"]).set(password="")
    with pytest.raises(redis.AuthenticationError):
        broker({"broker_url": without_password.render_as_string()}).ping()
    bucket = f"{servers.urls['s3_endpoint_url']}/{servers.urls['s3_bucket']}"
    assert httpx.get(bucket, trust_env=False).status_code == 403


def test_the_store_does_what_the_service_needs(servers: EmbeddedServers, tmp_path: Path) -> None:
    client, bucket = s3_client(servers.urls, servers.environment), servers.urls["s3_bucket"]
    content = os.urandom(20 * 1024**2)
    (tmp_path / "large").write_bytes(content)
    client.upload_file(str(tmp_path / "large"), bucket, "needs/large")  # in parts
    client.put_object(Bucket=bucket, Key="needs/empty", Body=b"")

    part = client.get_object(Bucket=bucket, Key="needs/large", Range="bytes=9000000-9000099")
    assert part["Body"].read() == content[9_000_000:9_000_100]
    request = {"Bucket": bucket, "Key": "needs/large", "ResponseContentDisposition": "attachment"}
    link = client.generate_presigned_url("get_object", Params=request)
    assert httpx.get(link, trust_env=False).content == content
    listed = client.list_objects_v2(Bucket=bucket, Prefix="needs/")["Contents"]
    assert {(entry["Key"], entry["Size"]) for entry in listed} == {
        ("needs/empty", 0),
        ("needs/large", len(content)),
    }

    keys = [{"Key": entry["Key"]} for entry in listed]
    assert "Errors" not in client.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    assert client.list_objects_v2(Bucket=bucket, Prefix="needs/")["KeyCount"] == 0


def test_a_second_start_is_refused_and_names_the_owner(servers: EmbeddedServers) -> None:
    with pytest.raises(ConfigurationError, match=f"Process {os.getpid()} already runs"):
        EmbeddedServers(servers.home).start()
    answers(servers)


@pytest.mark.parametrize("name", ["postgres", "valkey", "s3"])
def test_a_killed_server_is_gone_until_its_restart_at_the_same_address_with_its_data(
    own_servers: EmbeddedServers, name: Any
) -> None:
    servers = own_servers
    before = servers.urls
    leave_marks(servers.urls, servers.environment)
    servers.kill(name)
    assert processes_in(servers.home / name) == []
    servers.restart(name)
    assert servers.urls == before
    assert marks(servers) == ("kept", MARK)
    answers(servers)


def test_while_a_server_is_down_its_ports_are_given_to_nobody_else(own_servers: EmbeddedServers) -> None:
    """An outgoing connection takes a port without SO_REUSEADDR, as this socket does."""
    first = int(own_servers.urls["s3_endpoint_url"].rsplit(":", 1)[1])
    own_servers.kill("s3")
    for port in range(first, first + S3.PORTS):
        for taken in (port, port + GRPC_OFFSET):
            with socket.socket() as other, pytest.raises(OSError, match="already in use"):
                other.bind((HOST, taken))
    own_servers.restart("s3")
    answers(own_servers)


def test_data_and_credentials_survive_a_stop_which_leaves_no_process_and_no_socket(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        leave_marks(servers.urls, servers.environment)
        environment = servers.environment
    assert processes_in(home) == []
    port = int(servers.urls["s3_endpoint_url"].rsplit(":", 1)[1])
    assert not [path for each in range(port, port + S3.PORTS) for path in socket_files(each)]
    assert (home / "credentials.json").stat().st_mode & 0o777 == 0o600

    with servers:
        assert servers.environment == environment
        assert marks(servers) == ("kept", MARK)


@pytest.mark.family(1)
@pytest.mark.parametrize("victims", ["the owner", "the owner and all servers"])
def test_recovers_after_kill_9_of(victims: str, home: Path) -> None:
    with owner_of(home) as owner:
        addresses = announced(owner)
        leave_marks(addresses["urls"], addresses["environment"])
        orphans = processes_in(home)
        owner.kill()
        owner.wait()
        if victims != "the owner":
            for process in orphans:
                process.kill()
            wait_for(lambda: not processes_in(home), 60)

        with EmbeddedServers(home) as servers:
            assert not set(processes_in(home)) & set(orphans)
            assert marks(servers) == ("kept", MARK)
            answers(servers)


def running(owner: subprocess.Popen[str], _home: Path) -> None:
    announced(owner)


def starting(_owner: subprocess.Popen[str], home: Path) -> None:
    wait_for(lambda: processes_in(home), 60)


@pytest.mark.family(1)
@pytest.mark.parametrize(
    ("number", "reached"),
    [(signal.SIGINT, running), (signal.SIGINT, starting), (signal.SIGTERM, running)],
)
def test_an_interrupted_owner_leaves_no_process(
    number: signal.Signals, reached: Callable[[subprocess.Popen[str], Path], None], home: Path
) -> None:
    with owner_of(home) as owner:
        reached(owner, home)
        os.killpg(owner.pid, number)
        owner.communicate(timeout=90)
        assert processes_in(home) == []
        assert owner.returncode == (-signal.SIGINT if number == signal.SIGINT else 128 + signal.SIGTERM)


def test_runs_at_a_long_path_in_a_closed_folder(home: Path) -> None:
    closed = home / ("long " * 20)
    closed.mkdir(mode=0o700, parents=True)
    with EmbeddedServers(closed / ("longer" * 20) / "home") as servers:
        answers(servers)
    assert closed.stat().st_mode & 0o777 == 0o700


def users_of(processes: Iterable[psutil.Process]) -> set[int]:
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # the database starts some processes for only a moment
            found.add(process.uids().real)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_runs_as_an_ordinary_user(home: Path) -> None:
    home.mkdir()
    os.chown(home, 65534, 65534)
    # The capability only lets the user reach Python and this folder, which may be closed to other users.
    rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *rights]
    with owner_of(home, *ordinary) as owner:
        urls = announced(owner)["urls"]
        assert sql(urls, "SELECT 1") == 1
        assert users_of(processes_in(home)) == {65534}


def test_a_server_that_cannot_start_is_reported_with_its_log(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        pass
    with (home / "postgres" / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_bufers = 1\n")
    with pytest.raises(
        ConfigurationError, match=r"(?s)'postgres' ended .*shared_bufers.*TUNERY_DATABASE_URL"
    ):
        servers.start()
    assert processes_in(home) == []


def test_lost_credentials_are_reported_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"credentials\.json is missing"):
        EmbeddedServers(tmp_path).start()


def test_a_home_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="TUNERY_HOME"):
        EmbeddedServers(tmp_path / "file" / "home").start()
