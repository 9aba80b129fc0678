"""Encrypts what only the holder of a credential may read again: an API key, or a browser's session.

The key is derived from the credential. The server stores only its SHA-256, so neither the database nor the
server's own keys can decrypt the text. It can be read while the holder asks, and at no other time.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"tunery: an answer for the holder of this token"


class OtherHolder(Exception):
    """The text was encrypted for the holder of another credential."""


def seal_for(credential: str, text: str) -> str:
    """Return the text encrypted for the holder of the credential. That must be random, not a password."""
    return _fernet(credential).encrypt(text.encode()).decode()


def open_for(credential: str, sealed: str) -> str:
    """Return the decrypted text. Raises OtherHolder."""
    try:
        return _fernet(credential).decrypt(sealed).decode()
    except InvalidToken as error:
        raise OtherHolder from error


def _fernet(credential: str) -> Fernet:
    key = HKDF(SHA256(), length=32, salt=None, info=PURPOSE).derive(credential.encode())
    return Fernet(base64.urlsafe_b64encode(key))
