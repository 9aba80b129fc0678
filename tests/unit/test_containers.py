"""What can be known of the images and the compose file without a container engine.

`tests/faults/service/test_compose.py` builds and runs them.
"""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from api import stop_times as api_stop_times
from api.admission.bodies import BODY_SECONDS
from cli.main import app
from cli.up.command import GRACE
from core.settings import SERVER_FIELDS, Settings
from tests.fixtures.containers.images import stand_ins
from tests.fixtures.paths import REPOSITORY
from worker.process import stop_times

DOCKERFILES = ("Dockerfile", "Dockerfile.gpu")
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
TMP = "/tmp"  # noqa: S108
CONDITIONS = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(COPY, "api ./api") and so on, without comments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (REPOSITORY / dockerfile).read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def only(dockerfile: str, name: str) -> str:
    """The argument of the last instruction of this name."""
    return [argument for found, argument in instructions(dockerfile) if found == name][-1]


def is_sent_to_the_engine(path: str) -> bool:
    """By the rules of .dockerignore: the last pattern that fits the path, or a folder above it, decides."""
    sent = True
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        names = above if "**/" not in line else list(parts)
        if line and not line.startswith("#") and any(fnmatch(name, pattern) for name in names):
            sent = line.startswith("!")
    return sent


def assert_tunery_understands(arguments: list[str]) -> None:
    """Parses the arguments with the real command line, and runs nothing."""
    group = typer.main.get_command(app)
    context = group.make_context("tunery", list(arguments))
    name, command, rest = group.resolve_command(context, arguments)  # type: ignore[attr-defined]
    command.make_context(name, rest, parent=context)


def command_of(service: dict[str, Any]) -> list[str]:
    build = service["build"]
    dockerfile = "Dockerfile" if isinstance(build, str) else build["dockerfile"]
    assert yaml.safe_load(only(dockerfile, "ENTRYPOINT")) == ["tunery"]
    command: list[str] = service.get("command") or yaml.safe_load(only(dockerfile, "CMD"))
    return command


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_an_image_copies_exists_and_is_sent_to_the_engine(dockerfile: str) -> None:
    sources = [
        source
        for name, argument in instructions(dockerfile)
        if name == "COPY" and not argument.startswith("--from=")  # another stage's
        for source in argument.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert is_sent_to_the_engine(source), source


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_command_that_builds_an_image_does_something(dockerfile: str) -> None:
    """A module without a main would do nothing, and succeed."""
    for line in [argument for name, argument in instructions(dockerfile) if name == "RUN"]:
        for command in map(str.split, line.split("&&")):
            if command[0] == "tunery":
                assert_tunery_understands(command[1:])
            elif command[:2] == ["python", "-m"]:
                module = REPOSITORY / f"{command[2].replace('.', '/')}.py"
                assert "__main__" in module.read_text(), command


def test_the_image_of_the_dashboard_has_all_that_its_build_reads() -> None:
    read = re.search(r"\.\./\.\./(\w+)", (REPOSITORY / "dashboard/dev/guide.ts").read_text())
    assert read
    assert ("COPY", f"{read[1]} /src/{read[1]}") in instructions("Dockerfile")
    assert ("COPY", f"--from=tunery /src/routes.md /src/{read[1]}/reference/") in instructions("Dockerfile")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_copies_all_that_the_wheel_is_built_from(dockerfile: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    needed = {
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
        *("pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]),
    }
    copied = " ".join(argument for name, argument in instructions(dockerfile) if name == "COPY").split()
    assert needed <= set(copied)


@pytest.mark.parametrize(
    "path", [".env", "tunery.env", ".venv/bin/python", ".tunery/api-key", ".git/config", "demo-output"]
)
def test_no_secret_and_no_heap_of_files_is_sent_to_the_engine(path: str) -> None:
    assert not is_sent_to_the_engine(path)


@pytest.mark.parametrize(
    "path",
    [
        "core/__pycache__/models.pyc",
        "dashboard/node_modules/react/index.js",
        "dashboard/dist/index.html",
        "docs/reference/routes.md",
    ],
)
def test_nothing_that_was_built_here_is_sent_to_the_engine(path: str) -> None:
    assert is_sent_to_the_engine("core/tables/jobs/jobs.py")
    assert is_sent_to_the_engine("dashboard/src/main.tsx")
    assert not is_sent_to_the_engine(path)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_starts_a_command_of_tunery_and_not_as_root(dockerfile: str) -> None:
    assert yaml.safe_load(only(dockerfile, "ENTRYPOINT")) == ["tunery"]
    assert_tunery_understands(yaml.safe_load(only(dockerfile, "CMD")))
    assert only(dockerfile, "USER") not in ("root", "0")


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_of_tunery(name: str) -> None:
    assert_tunery_understands(command_of(OURS[name]))


def test_the_service_has_its_parts() -> None:
    assert sorted(command_of(service)[0] for service in OURS.values()) == [
        "api",
        "migrate",
        "serve",
        "worker",
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_that_can_tell_when_they_are_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert CONDITIONS[how["condition"]] in SERVICES[other], (other, how)


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_is_given_every_server_and_no_setting_that_does_not_exist(name: str) -> None:
    environment = OURS[name]["environment"]
    ours = {variable for variable in environment if variable.startswith("TUNERY_")}
    fields = {f"TUNERY_{field.upper()}" for field in Settings.model_fields}
    assert ours <= fields
    assert {f"TUNERY_{field.upper()}" for field in SERVER_FIELDS} <= ours
    Settings(**{variable.removeprefix("TUNERY_").lower(): environment[variable] for variable in ours})


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_reads_further_settings_from_a_file_that_may_be_missing(name: str) -> None:
    assert OURS[name]["env_file"] == [{"path": "tunery.env", "required": False}]
    assert "tunery.env" in (REPOSITORY / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_sets_no_setting_that_does_not_exist(dockerfile: str) -> None:
    text = " ".join(argument for name, argument in instructions(dockerfile) if name == "ENV")
    fields = {f"TUNERY_{field.upper()}" for field in Settings.model_fields}
    assert set(re.findall(r"TUNERY_\w+", text)) <= fields


def test_servers_are_named_by_addresses_that_exist() -> None:
    environment = OURS["api"]["environment"]
    for field in ("database_url", "broker_url", "s3_endpoint_url"):
        host = re.split(r"@|://", environment[f"TUNERY_{field.upper()}"])[-1].split(":")[0]
        assert "healthcheck" in SERVICES[host], field


def test_the_example_names_every_variable_and_keeps_no_secret() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    used = dict(re.findall(r"\$\{(\w+)(:?[?-][^}]*)?\}", COMPOSE))
    assert set(used) == set(example)
    assert not any(name.startswith("TUNERY_") for name in used), "they are compose's, not settings"
    for name in used:
        secret = name.endswith(("PASSWORD", "KEY"))
        assert used[name].startswith(":?" if secret else ":-"), name
        assert bool(example[name]) != secret, name
        if not secret:
            assert example[name] == used[name].removeprefix(":-")


def test_every_volume_is_declared_and_used() -> None:
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())}
    assert used == set(yaml.safe_load(COMPOSE)["volumes"])


def test_only_the_api_is_reachable_from_the_host_and_only_from_it() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"api"}
    assert all(port.startswith("${API_ADDRESS:-127.0.0.1}:") for port in published["api"])


def test_the_api_has_the_time_to_answer_what_it_has_accepted() -> None:
    assert int(OURS["api"]["stop_grace_period"].removesuffix("s")) > api_stop_times.API
    assert BODY_SECONDS < api_stop_times.REQUESTS < api_stop_times.API == GRACE["api"]


def test_a_worker_has_a_gpu_and_the_time_to_write_a_checkpoint() -> None:
    worker = OURS["worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert "gpu" in device["capabilities"]
    assert int(worker["stop_grace_period"].removesuffix("s")) > stop_times.WORKER
    assert worker["shm_size"] == "2g", "Docker's 64 MB are too small for NCCL"


def test_a_server_has_a_gpu_and_the_time_to_end_its_answers() -> None:
    server = OURS["serve"]
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert "gpu" in device["capabilities"]
    assert int(server["stop_grace_period"].removesuffix("s")) > stop_times.SERVER == GRACE["serve"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_of_root_and_can_gain_none(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert name in OURS or re.fullmatch(r"[1-9]\d+:[1-9]\d+", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_writes_only_to_its_volumes_and_to_folders_in_memory(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    for folder in SERVICES[name].get("tmpfs", ()):
        assert ":mode=1777" in folder, "engines differ in who may write to a folder in memory"


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_can_write_to_tmp_and_compile_there(name: str) -> None:
    volumes = [mount.split(":")[1] for mount in OURS[name].get("volumes", ())]
    in_memory = [folder.split(":")[0] for folder in OURS[name].get("tmpfs", ())]
    assert [*volumes, *in_memory].count(TMP) == 1
    # A folder in memory is mounted noexec by Docker, and holds no files as large as models
    assert (TMP in volumes) == (command_of(OURS[name])[0] in ("worker", "serve"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_has_its_home_where_it_can_write(dockerfile: str) -> None:
    set_to = dict(re.findall(r"(\w+)=(\S+)", only(dockerfile, "ENV")))
    assert set_to["HOME"] == set_to["TUNERY_HOME"] == only(dockerfile, "WORKDIR")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_change_of_our_code_leaves_the_layer_of_the_packages(dockerfile: str) -> None:
    """Only pyproject.toml may come into the stage that installs them, and the last stage builds on it."""
    lines = instructions(dockerfile)
    stages = [index for index, (name, _) in enumerate(lines) if name == "FROM"]
    (packages,) = [place for place, index in enumerate(stages) if lines[index][1].endswith(" AS packages")]
    assert lines[stages[-1]] == ("FROM", "packages")
    copied = [argument for name, argument in lines[: stages[packages + 1]] if name == "COPY"]
    assert copied == ["pyproject.toml ./"]


def test_each_image_of_others_has_a_stand_in() -> None:
    """So a test can build and run all containers where no registry is reached."""
    stages = [
        argument.split()
        for dockerfile in DOCKERFILES
        for name, argument in instructions(dockerfile)
        if name == "FROM"
    ]
    own = {words[-1] for words in stages if "AS" in words}
    named = {service["image"] for service in SERVICES.values() if "image" in service}
    assert {words[0] for words in stages} - own | named == set(stand_ins())


def test_the_object_store_stops_before_it_is_killed() -> None:
    """It takes up to 15 s if its start was not complete, and waits as long as it is told before that."""
    assert "-volume.preStopSeconds=0" in SERVICES["s3"]["command"]
    assert int(SERVICES["s3"]["stop_grace_period"].removesuffix("s")) > 15


def test_a_full_broker_drops_hints_instead_of_refusing_them() -> None:
    command = SERVICES["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "allkeys-lru"
    assert int(command[command.index("--maxmemory") + 1].removesuffix("mb")) < 512
    assert SERVICES["valkey"]["mem_limit"] == "512m"
