"""Both images and docker-compose.yml in Podman: rights, health, a whole job, the stop."""

import io
import json
import zipfile
from collections.abc import Iterator

import httpx2
import pytest
from openai import DefaultHttpxClient, OpenAI
from safetensors.torch import load

from cli.commands.files import sample
from core.catalog import SMOLLM2
from tests.fixtures.containers.composed import Composed, composed
from tests.fixtures.containers.engine import Engine
from tests.fixtures.containers.images import build
from tests.fixtures.service.api import wait_for

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(1800)]  # the first build takes minutes

ENDS = "migrate"  # the one service that shall end
# As docs/operate/containers.md lists them
WRITABLE = {
    "postgres": {"/tmp", "/var/lib/postgresql", "/run/postgresql"},  # noqa: S108
    "valkey": {"/data"},
    "s3": {"/data", "/tmp"},  # noqa: S108
    "api": {"/tmp", "/var/lib/tunery"},  # noqa: S108
    "worker": {"/tmp", "/var/lib/tunery"},  # noqa: S108
    "serve": {"/tmp", "/var/lib/tunery"},  # noqa: S108
}
FIND = "find / '(' -path /proc -o -path /sys -o -path /dev ')' -prune -o -type d -writable -print -prune"
JOB_SECONDS, STOP_SECONDS = 600, 150
KILLED = 128 + 9
ROWS = 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    engine = Engine(tmp_path_factory.mktemp("containers"))
    with composed(engine, build(engine)) as service:
        yield service


def test_each_service_runs_and_is_healthy_by_its_own_check(service: Composed) -> None:
    for name, written in service.services.items():
        state = service.inspect(name)["State"]
        if name == ENDS:
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), service.logs()
        else:
            assert state["Status"] == "running", service.logs()
        assert ("healthcheck" in written) == (service.health(name) == "healthy"), name


def test_no_container_has_rights_of_root(service: Composed) -> None:
    for name in service.services:
        container = service.inspect(name)
        assert container["HostConfig"]["ReadonlyRootfs"], name
        assert not container["EffectiveCaps"], name
        assert not container["BoundingCaps"], name
        assert container["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        if name == ENDS:
            continue
        lines = service.inside(name, "cat", "/proc/1/status").splitlines()
        status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        assert "0" not in status["Uid"] + status["Gid"], name
        assert status["NoNewPrivs"] == ["1"], name
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind][0], 16) == 0, (name, kind)


def test_a_container_can_write_to_its_folders_alone(service: Composed) -> None:
    assert set(WRITABLE) == set(service.services) - {ENDS}
    for name, folders in WRITABLE.items():
        found = service.inside(name, "sh", "-c", f"{FIND} 2>/dev/null; true").split()
        assert set(found) == folders, name


def test_the_main_job_runs_through_the_containers(service: Composed) -> None:
    key = service.inside("api", "tunery", "keys", "create", "--role", "admin").strip()
    client = OpenAI(
        base_url=f"{service.url}/v1", api_key=key, http_client=DefaultHttpxClient(trust_env=False)
    )
    training = sample.sample_files(ROWS)[sample.TRAINING_NAME]
    file = client.files.create(file=("train.jsonl", training), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=SMOLLM2.id,
        training_file=file.id,
        seed=5,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        extra_body={"adapter": {"type": "lora", "r": 8}, "training": {"learning_rate": 1e-3}},
    )
    ended = wait_for(
        lambda: (now := client.fine_tuning.jobs.retrieve(job.id)).status not in ("queued", "running") and now,
        JOB_SECONDS,
    )
    assert ended.status == "succeeded", (ended.error, service.logs())

    adapter = client.get(f"/adapters/{ended.model_extra['adapter_id']}/content", cast_to=httpx2.Response)
    with zipfile.ZipFile(io.BytesIO(adapter.content)) as archive:
        config = json.loads(archive.read("adapter_config.json"))
        weights = load(archive.read("adapter_model.safetensors"))
    assert (config["base_model_name_or_path"], config["r"]) == (SMOLLM2.repository, 8)
    learnt = [tensor for name, tensor in weights.items() if "lora_B" in name]
    assert learnt
    assert all(tensor.any() for tensor in learnt)

    asked = [{"role": "user", "content": "My kettle is broken. Order 4821."}]
    said = {
        model: client.chat.completions.create(
            model=model, messages=asked, temperature=0, max_completion_tokens=16
        )
        .choices[0]
        .message.content
        for model in (SMOLLM2.id, ended.fine_tuned_model)
    }
    assert all(said.values())
    assert len(set(said.values())) == 2, said
    for name in ("worker", "serve"):
        assert "native_part_missing" not in service.log(name), "parts in C are compiled and loaded from /tmp"


def test_a_stop_kills_no_container_and_down_leaves_nothing(service: Composed) -> None:
    assert service.compose("stop").wait(STOP_SECONDS) == 0
    for name in service.services:
        state = service.inspect(name)["State"]
        assert state["Status"] == "exited", name
        assert state["ExitCode"] != KILLED, (name, service.logs())
    assert service.compose("down", "--volumes").wait(STOP_SECONDS) == 0
    assert not any(service.left().values()), service.left()
