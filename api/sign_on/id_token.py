"""Checks the token by which a provider says who a person is."""

from collections.abc import Mapping
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

# Signatures that only the provider can make. With `none` or `HS256`, others could make one too.
ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
]
SKEW = 60  # seconds by which the clocks of the provider and of this machine may differ


def checked_claims(
    id_token: str, keys: Mapping[str, Any], issuer: str, client_id: str, nonce: str, access_token: str | None
) -> dict[str, Any]:
    """Return the claims of a token that `issuer` has signed for `client_id`, in answer to this `nonce`.

    Raises JoseError if the token is not valid, or not valid now.
    """
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    token = jwt.decode(id_token, KeySet.import_key_set(dict(keys)), registry=registry)  # type: ignore[arg-type]
    claims = CodeIDToken(
        token.claims,
        token.header,
        {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
        {"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    claims.validate(leeway=SKEW)
    return dict(claims)
