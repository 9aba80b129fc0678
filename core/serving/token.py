"""API and workers tell a server beside the body who they are, for which project they ask, and an id.

The first two follow from `TUNERY_SECRET_KEYS`. By the id, the server finds the tokens of the request again. A
whole answer has them in a header, so that the API need not read it.
"""

import hmac
from hashlib import sha256

from pydantic import SecretStr

from core.errors import ConfigurationError

PURPOSE = b"tunery: requests to servers"
PROJECT_HEADER = "x-tunery-project"
REQUEST_HEADER = "x-request-id"
USAGE_HEADER = "x-tunery-usage"  # JSON in OpenAI's form


def server_token(secret_keys: SecretStr | None) -> str:
    """Return the token to send, which follows from the first key. Raises ConfigurationError without a key."""
    return _tokens(secret_keys)[0]


def is_server_token(sent: str, secret_keys: SecretStr | None) -> bool:
    """Return whether the token follows from any of the keys: two processes may know different newest keys."""
    found = [hmac.compare_digest(sent.encode(), token.encode()) for token in _tokens(secret_keys)]
    return any(found)


def opaque_project(token: str | None, project_id: str) -> str:
    """Return the name by which servers tell projects apart: 32 hex digits that do not give away the id."""
    return hmac.new((token or "").encode(), project_id.encode(), sha256).hexdigest()[:32]


def _tokens(secret_keys: SecretStr | None) -> list[str]:
    keys = [key.strip() for key in (secret_keys.get_secret_value() if secret_keys else "").split(",")]
    tokens = [hmac.new(key.encode(), PURPOSE, sha256).hexdigest() for key in keys if key]
    if not tokens:
        raise ConfigurationError(
            "TUNERY_SECRET_KEYS is not set, but API and servers know each other by it. "
            "`tunery secrets keygen` prints a key"
        )
    return tokens
