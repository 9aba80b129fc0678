"""docker-compose.yml with both images, built and started by podman, and a job through them.

The images of Debian, Python, Node, CUDA and the servers are stand-ins: see `tests/fixtures/containers`.
"""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from tests.fixtures.containers.compose import SERVICES, Composed, composed
from tests.fixtures.containers.engine import CannotRun, Engine
from tests.fixtures.containers.images import build_ours, build_standins

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(3600)]

MODEL = "smollm2-135m-instruct"
ROWS = [
    {"messages": [{"role": "user", "content": f"{n} + 1"}, {"role": "assistant", "content": str(n + 1)}]}
    for n in range(16)
]
JOB_SECONDS = 600
RUNNING = sorted(set(SERVICES) - {"migrate"})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("containers")
    try:
        engine = Engine(folder)
        build_standins(engine)
    except CannotRun as reason:
        pytest.skip(f"no containers: {reason}")
    build_ours(engine, folder)
    with composed(engine, folder, "tunery-test") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Composed) -> OpenAI:
    made = service.inside("api", "tunery", "keys", "create", "--role", "admin")
    assert made.returncode == 0, made.stderr
    return OpenAI(base_url=f"{service.url}/v1", api_key=made.stdout.strip(), timeout=120)


def create_job(client: OpenAI, epochs: int) -> str:
    file = client.files.create(
        file=("train.jsonl", "\n".join(map(json.dumps, ROWS)).encode()), purpose="fine-tune"
    )
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs, "batch_size": 8}}}
    return client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, method=method).id  # type: ignore[arg-type]


def wait_for(client: OpenAI, job_id: str, *statuses: str) -> None:
    deadline = time.monotonic() + JOB_SECONDS
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in statuses:
        assert job.status in ("queued", "running"), job
        assert time.monotonic() < deadline, job
        time.sleep(1)


@pytest.mark.parametrize("name", RUNNING)
def test_a_service_has_no_rights_and_can_write_only_where_it_must(service: Composed, name: str) -> None:
    container = service.containers()[name]
    assert container["HostConfig"]["ReadonlyRootfs"]
    status = dict(
        line.split(":\t", 1) for line in service.inside(name, "cat", "/proc/1/status").stdout.splitlines()
    )
    assert set(status["Uid"].split()) != {"0"}
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    for folder in ("/", "/etc", "/usr", "/var", "/opt", "/root"):
        refused = service.inside(name, "sh", "-c", f"echo > {folder}/written")
        assert refused.returncode != 0, folder
    # Podman gives these two to every container with a read-only root, and Docker does not
    mounted = [*container["HostConfig"]["Tmpfs"], *(mount["Destination"] for mount in container["Mounts"])]
    for folder in {"/tmp", "/var/tmp"} - set(mounted):  # noqa: S108
        assert service.inside(name, "ls", "-A", folder).stdout == "", folder


def test_a_job_goes_through_from_the_upload_to_a_chat(service: Composed, client: OpenAI) -> None:
    job_id = create_job(client, epochs=1)
    wait_for(client, job_id, "succeeded")
    job = client.fine_tuning.jobs.retrieve(job_id)
    archive = client.get(f"/adapters/{job.adapter_id}/content", cast_to=httpx2.Response)  # type: ignore[attr-defined]
    names = zipfile.ZipFile(io.BytesIO(archive.content)).namelist()
    assert {Path(name).name for name in names} >= {"adapter_config.json", "adapter_model.safetensors"}
    asked = client.chat.completions.create(
        model=str(job.fine_tuned_model), messages=[{"role": "user", "content": "3 + 1"}], max_tokens=8
    )
    assert asked.usage is not None
    assert asked.usage.completion_tokens > 0
    # The parts in C are compiled in /tmp, and run from there
    for name in ("worker", "serve"):
        assert "native_part_missing" not in service.logs(name)


def test_the_dashboard_is_in_the_image_of_the_api(service: Composed) -> None:
    page = httpx2.get(f"{service.url}/", trust_env=False)
    assert (page.status_code, "<title>" in page.text) == (200, True)


def test_a_stopped_service_ends_by_itself_gives_its_job_back_and_leaves_nothing(
    service: Composed, client: OpenAI
) -> None:
    job_id = create_job(client, epochs=100)
    wait_for(client, job_id, "running")
    service.compose("stop", "worker").wait(120)
    wait_for(client, job_id, "queued")
    service.compose("stop").wait(300)
    codes = {name: one["State"]["ExitCode"] for name, one in service.containers().items()}
    assert codes == dict.fromkeys(SERVICES, 0), "137 means: killed after the grace"
    service.compose("down", "--volumes").wait(300)
    assert set(service.left().values()) == {""}
