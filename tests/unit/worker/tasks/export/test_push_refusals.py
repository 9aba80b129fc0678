"""Pushes that do not succeed: which field is wrong, what shall be tried again, and that no key is shown."""

from collections.abc import Callable
from pathlib import Path
from socket import EAI_AGAIN, EAI_NONAME, gaierror
from typing import Any

import pytest
from huggingface_hub import get_session

from core.egress import Egress
from core.errors import JobError, OutsideFault
from core.exports.destinations import HubDestination, S3Destination
from tests.fixtures.outside.hub import TOKEN, Hub, Repository, lead_to_hub
from tests.fixtures.outside.receiver import Receiver
from tests.fixtures.processes.ports import free_port
from worker.tasks.export.push.hub import SECONDS, push_to_hub
from worker.tasks.export.push.progress import Progress
from worker.tasks.export.push.reasons import MAX_REASON
from worker.tasks.export.push.s3 import push_to_s3

KEY = "AKIAKNOWN:a-secret-key-to-hide"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in ("README.md", "adapter_model.safetensors", "manifest.json"):
        (tmp_path / name).write_text(name)
    return sorted(tmp_path.iterdir())


def refused(push: Callable[[], Any]) -> JobError:
    with pytest.raises(JobError) as refused:
        push()
    assert not any(hidden in str(refused.value) for hidden in (TOKEN, *KEY.split(":")))
    return refused.value


def nobody() -> Progress:
    return Progress(lambda _: None, 1)


def to_hub(
    files: list[Path], token: str = TOKEN, said: Progress | None = None, **options: Any
) -> Callable[[], dict[str, Any]]:
    asked = {"type": "hub", "repository": "org/name", "secret": "HUB_TOKEN", **options}
    return lambda: push_to_hub(files, HubDestination(**asked), token, "Add it", said or nobody())


def to_s3(
    files: list[Path],
    endpoint_url: str | None,
    allowed: str | None = "127.0.0.1",
    said: Progress | None = None,
    **options: Any,
) -> Callable[[], dict[str, Any]]:
    asked = {"type": "s3", "bucket": "models", "endpoint_url": endpoint_url, "secret": "STORE_KEY", **options}
    return lambda: push_to_s3(files, S3Destination(**asked), KEY, Egress(allowed), said or nobody())


def test_a_branch_is_made_and_files_that_are_there_are_not_committed_again(
    hub: Hub, files: list[Path]
) -> None:
    first = to_hub(files, revision="v1", private=False)()
    again = to_hub(files, revision="v1", private=False)()
    assert again == first
    repository = hub.repositories["org/name"]
    assert (repository.private, len(repository.branches["main"])) == (False, 1)
    assert repository.branches["v1"] == [{}, {path.name: path.read_bytes() for path in files}]


def test_a_hubs_refusal_names_the_field_that_is_wrong(hub: Hub, files: list[Path]) -> None:
    assert refused(to_hub(files, token="hf_other")).param == "destination.secret"
    assert refused(to_hub(files, repository="others/name")).param == "destination.repository"
    hub.repositories["org/public"] = Repository(private=False)
    public = refused(to_hub(files, repository="org/public"))
    assert (public.code, public.param) == ("repository_public", "destination.private")
    assert hub.repositories["org/public"].branches["main"] == [{}]
    hub.status = 422
    assert "The hub is told to say so" in str(refused(to_hub(files)))


def test_a_hub_that_does_not_answer_now_is_asked_again(
    hub: Hub, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in (412, 429, 500):
        hub.status = status
        with pytest.raises(OutsideFault, match=str(status)):
            to_hub(files)()
    lead_to_hub(monkeypatch, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(OutsideFault, match="did not answer"):
        to_hub(files)()


@pytest.mark.parametrize(
    ("status", "code", "field"),
    [
        (403, "InvalidAccessKeyId", "secret"),
        (403, "SignatureDoesNotMatch", "secret"),
        (403, "AccessDenied", "bucket"),
        (404, "NoSuchBucket", "bucket"),
        (400, "AuthorizationHeaderMalformed", "region"),
    ],
)
def test_a_stores_refusal_names_the_field_that_is_wrong(
    receiver: Receiver, files: list[Path], status: int, code: str, field: str
) -> None:
    receiver.statuses[:] = [status] * 4
    receiver.body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
    found = refused(to_s3(files, receiver.url))
    assert (found.code, found.param) == ("push_refused", f"destination.{field}"), str(found)
    assert code in str(found) or code == "NoSuchBucket"


def test_a_store_that_fails_now_is_asked_again(receiver: Receiver, files: list[Path]) -> None:
    receiver.statuses[:] = [503]
    assert to_s3(files, receiver.url)()["objects"] == 3
    sent = [request.body.decode() for request in receiver.requests]
    assert sent == [files[0].name, *(path.name for path in files)]  # boto3 has sent the first one again
    receiver.statuses[:] = [503] * 9
    with pytest.raises(OutsideFault, match="503"):
        to_s3(files, receiver.url)()


def test_a_store_at_a_private_address_is_refused(receiver: Receiver, files: list[Path]) -> None:
    found = refused(to_s3(files, receiver.url, allowed=None))
    assert (found.code, found.param) == ("destination_refused", "destination.endpoint_url")
    assert receiver.requests == []


def test_a_push_does_not_tell_which_names_our_own_network_has(receiver: Receiver, files: list[Path]) -> None:
    port = receiver.url.rpartition(":")[2]
    said: set[tuple[str, str | None, str]] = set()
    for host in ("localhost", "nowhere.invalid"):
        found = refused(to_s3(files, f"https://{host}:{port}", allowed=None))
        said.add((found.code, found.param, str(found).replace(host, "HOST")))
    ((code, param, _),) = said
    assert (code, param) == ("destination_unreachable", "destination.endpoint_url")
    assert receiver.requests == []


def test_a_store_that_is_not_there_is_said_to_be_unreachable(files: list[Path]) -> None:
    found = refused(to_s3(files, f"http://127.0.0.1:{free_port()}"))
    assert (found.code, found.param) == ("destination_unreachable", "destination.endpoint_url")


@pytest.mark.parametrize("key", ["only-one-part", "id:", ":key", "id:key:"])
def test_a_secret_of_another_form_is_refused(files: list[Path], key: str) -> None:
    destination = S3Destination(type="s3", bucket="models", secret="STORE_KEY")
    with pytest.raises(JobError, match="ACCESS_KEY_ID:SECRET_ACCESS_KEY") as refused:
        push_to_s3(files, destination, key, Egress(None), nobody())
    assert refused.value.param == "destination.secret"


def test_the_settings_of_the_worker_do_not_lead_a_push_elsewhere(
    receiver: Receiver, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-workers-own")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-7")
    to_s3(files, receiver.url)()
    for request in receiver.requests:
        assert "/us-east-1/s3/" in request.headers["authorization"]
        assert "x-amz-security-token" not in request.headers


def test_a_push_that_advances_says_so(hub: Hub, receiver: Receiver, files: list[Path]) -> None:
    total = sum(path.stat().st_size for path in files)
    for push in (to_hub, lambda files, said: to_s3(files, receiver.url, said=said)):
        shares: list[float] = []
        push(files, said=Progress(shares.append, total))()
        assert len(set(shares)) >= len(files)
        assert (shares[0] < 0.9, shares[-1]) == (True, 1.0)


def test_a_hub_that_falls_silent_is_not_waited_for_for_ever(hub: Hub, files: list[Path]) -> None:
    to_hub(files)()
    assert get_session().timeout.read == SECONDS


def test_an_address_that_boto3_does_not_take_is_named(files: list[Path]) -> None:
    found = refused(to_s3(files, "https://my_store.example.com"))
    assert (found.code, found.param) == ("destination_refused", "destination.endpoint_url")


def test_a_region_that_does_not_exist_is_named_and_not_tried_again(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(code: int) -> None:
        def not_found(*_: Any, **__: Any) -> Any:
            raise gaierror(code, "as a name server answers")

        monkeypatch.setattr("socket.getaddrinfo", not_found)

    answer(EAI_NONAME)
    found = refused(to_s3(files, None, region="eu-centrl-1"))
    assert (found.code, found.param) == ("destination_unreachable", "destination.region")
    answer(EAI_AGAIN)
    with pytest.raises(OutsideFault, match="AWS did not answer"):
        to_s3(files, None, region="eu-central-1")()


def test_a_stores_reason_is_cut(receiver: Receiver, files: list[Path]) -> None:
    receiver.statuses[:] = [400] * 4
    receiver.body = f"<Error><Code>{'A' * 10_000}</Code></Error>".encode()
    assert len(str(refused(to_s3(files, receiver.url)))) < 2 * MAX_REASON
