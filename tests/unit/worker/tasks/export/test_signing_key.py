"""The key with which exports are signed: which files are refused when a worker starts."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from core.errors import ConfigurationError
from worker.tasks.export.signing_key import public_key_sha256

GOOD = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_the_public_key_has_the_hash_that_openssl_gives_it(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(pem(GOOD))
    command = ["openssl", "ec", "-in", tmp_path / "key.pem", "-pubout"]
    public = subprocess.run(command, capture_output=True, check=True).stdout
    assert public_key_sha256(tmp_path / "key.pem") == hashlib.sha256(public).hexdigest()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (pem(GOOD, b"word"), "has a password"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "elliptic-curve key on one of the curves"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "elliptic-curve key on one of the curves"),
    ],
)
def test_a_file_without_a_usable_key_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^TUNERY_SIGNING_KEY_FILE .*{reason}"):
        public_key_sha256(tmp_path / "key.pem")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        public_key_sha256(tmp_path / "missing.pem")
