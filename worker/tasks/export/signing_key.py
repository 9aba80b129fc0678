"""The key with which exports are signed: what a worker checks when it starts."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from core.errors import ConfigurationError

CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAKE_ONE = "`openssl ecparam -name prime256v1 -genkey -noout -out signing-key.pem` makes one"


def public_key_sha256(key_file: Path) -> str:
    """Return the SHA-256 of the public key in PEM, as `openssl ec -pubout` writes it.

    Raises ConfigurationError if the file cannot be read, or holds no private key that can sign.
    """
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
    except OSError as error:
        raise _wrong(f"names {key_file}, which cannot be read ({error.strerror})") from error
    except TypeError as error:
        raise _wrong(f"names {key_file}, whose key has a password; store it without one") from error
    except ValueError as error:
        raise _wrong(f"names {key_file}, which holds no private key in PEM") from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise _wrong(f"must name an elliptic-curve key on one of the curves {', '.join(CURVES)}")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"TUNERY_SIGNING_KEY_FILE {what}. {MAKE_ONE}")
