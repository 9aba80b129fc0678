"""Signs what is sent to addresses of others, by Standard Webhooks (https://www.standardwebhooks.com)."""

from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook


def signature_headers(
    message_id: str, body: bytes, signing_secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    """Return the headers that sign a body of UTF-8, once with each secret.

    A repeated message keeps its `message_id`. Receivers refuse a message whose time is wrong, so `now` is
    from the database's clock.
    """
    signatures = [Webhook(secret).sign(message_id, now, body.decode()) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
