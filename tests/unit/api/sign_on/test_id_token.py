"""A token is checked whichever of its two names the algorithm Ed25519 has."""

import base64
import hashlib
import time

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from api.sign_on.id_token import BadClaims, checked_claims

ISSUER = "https://login.example.com"


@pytest.mark.parametrize("algorithm", ["Ed25519", "EdDSA"])
def test_the_hash_of_the_access_token_counts_with_ed25519(algorithm: str) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "first"})
    half = hashlib.sha512(b"an-access-token").digest()[:32]
    claims = {
        "iss": ISSUER,
        "aud": "tunery",
        "sub": "ada",
        "nonce": "n",
        "iat": int(time.time()),
        "exp": int(time.time()) + 60,
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
    }
    token = jwt.encode({"alg": algorithm, "kid": "first"}, claims, key, algorithms=[algorithm])
    keys = KeySet([key])
    assert checked_claims(token, keys, ISSUER, "tunery", "n", "an-access-token")["sub"] == "ada"
    with pytest.raises(BadClaims):
        checked_claims(token, keys, ISSUER, "tunery", "n", "another")
