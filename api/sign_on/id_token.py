"""Checks the token by which a provider says who a person is."""

from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

# Signatures that only the provider can make. With `none` or `HS256`, others could make one too.
ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]
SKEW = 60  # seconds by which the clocks of the provider and of this machine may differ


class BadSignature(Exception):
    """None of these keys has signed the token. The provider may have changed its keys."""


class BadClaims(Exception):
    """The provider has signed the token, but not as an answer to this question, or not for now."""


def checked_claims(
    id_token: str, keys: KeySet, issuer: str, client_id: str, nonce: str, access_token: str | None
) -> dict[str, Any]:
    """Return the claims of a token that `issuer` has signed for `client_id`, in answer to this `nonce`.

    Raises BadSignature or BadClaims.
    """
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    try:
        token = jwt.decode(id_token, keys, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadSignature(_words(error)) from None
    # The hash of an access token depends on the algorithm, which has two names: authlib knows the older one
    header = token.header | ({"alg": "EdDSA"} if token.header["alg"] == "Ed25519" else {})
    claims = CodeIDToken(
        token.claims,
        header,
        {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
        {"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        claims.validate(leeway=SKEW)
    except (JoseError, ValueError, TypeError) as error:
        raise BadClaims(_words(error)) from None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise BadClaims("`sub` is no text")
    return dict(claims)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
