"""Encrypts what only the holder of a token may read again: an API key, or a browser's session.

The key is derived from the token. The server stores only the token's SHA-256, so neither the database nor the
server's own keys can decrypt the text. It can be read while the holder asks, and at no other time.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"tunery: an answer for the holder of this token"


class OtherHolder(Exception):
    """The text was encrypted for the holder of another token."""


def seal_for(token: str, text: str) -> str:
    """Return the text encrypted for the holder of the token. The token must be random, not a password."""
    return _fernet(token).encrypt(text.encode()).decode()


def open_for(token: str, sealed: str) -> str:
    """Return the decrypted text. Raises OtherHolder."""
    try:
        return _fernet(token).decrypt(sealed).decode()
    except InvalidToken as error:
        raise OtherHolder from error


def _fernet(token: str) -> Fernet:
    key = HKDF(SHA256(), length=32, salt=None, info=PURPOSE).derive(token.encode())
    return Fernet(base64.urlsafe_b64encode(key))
