"""Secrets of every kind, each a text of its own: no log, event, error or object shows one."""

import pytest

from core.roles import Role
from faults.receiver import Receiver
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.stack import JOB_SECONDS, Stack, non_finite

CANARY = "canary0123456789abcdef0123456789abcdef00"
WANDB = {"type": "wandb", "wandb": {"project": "ours"}}


def secrets_of(stack: Stack, key: str, signing: str) -> dict[str, str]:
    """Return each secret that the service knows, by what it is."""
    settings, environment = stack.api.settings, stack.servers.environment
    assert settings.secret_keys is not None
    return {
        "a project's secret": CANARY,
        "an API key": key.split("_", 2)[2],
        "a webhook's signing secret": signing.removeprefix("whsec_"),
        "the key of all secrets": settings.secret_keys.get_secret_value(),
        "the store's key": environment["AWS_SECRET_ACCESS_KEY"],
        "the broker's password": settings.server("broker_url").split("@")[0].rpartition(":")[2],
    }


@pytest.mark.exhaustive
def test_no_secret_stands_in_a_log_an_event_an_error_or_an_object(
    stack: Stack, receiver: Receiver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    admin = stack.api.tenant(stack.tenant.project, Role.ADMIN)
    stored = admin.http.post("/v1/secrets", json={"name": "WANDB_API_KEY", "value": CANARY})
    wanted = {"name": "x", "url": receiver.url, "event_types": ["fine_tuning.job.succeeded"]}
    endpoint = admin.http.post("/v1/webhook_endpoints", json=wanted)
    stack.start_worker(log_level="debug")
    succeeds = stack.create_job(rows=12, epochs=2, model=TINY, integrations=[WANDB])
    fails = stack.create_job(rows=12, model=TINY, **non_finite())
    stack.wait_for_status(succeeds, "succeeded")
    stack.wait_for_status(fails, "failed")
    wait_for(lambda: receiver.requests, JOB_SECONDS)
    refused = admin.http.post("/v1/secrets", json={"name": "no name", "value": [CANARY]})
    assert refused.status_code == 400
    seen = {
        "the worker's log": stack.log(),
        "the API's log": "".join(capfd.readouterr()),
        "an answer": stored.text + admin.http.get("/v1/secrets").text + refused.text,
        "the events": "\n".join(stack.events(succeeds) + stack.events(fails)),
        "an error": str(stack.job(fails).error),
        "a webhook": "\n".join(f"{each.headers} {each.body!r}" for each in receiver.requests),
        **{key: b"".join(stack.store.read(key)).decode("latin-1") for key in stack.store.list("")},
    }
    for kind, secret in secrets_of(stack, stack.tenant.key, endpoint.json()["signing_secret"]).items():
        assert len(secret) > 15, kind
        assert [place for place, text in seen.items() if secret in text] == [], kind
