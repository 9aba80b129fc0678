"""The headers of a webhook, compared with the formula of https://www.standardwebhooks.com."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from core import webhooks

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BODY = '{"id":"evt_1","note":"é"}'.encode()


def signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


@pytest.mark.parametrize("secrets", [1, 2])
def test_every_live_secret_signs_the_id_the_time_and_the_body(secrets: int) -> None:
    signing_secrets = [webhooks.new_signing_secret() for _ in range(secrets)]
    headers = webhooks._headers("evt_1", BODY, signing_secrets, NOW)
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    signed = b".".join((b"evt_1", headers["webhook-timestamp"].encode(), BODY))
    assert headers["webhook-signature"].split(" ") == [
        signature(secret, signed) for secret in signing_secrets
    ]
    assert headers["webhook-id"] == "evt_1"
