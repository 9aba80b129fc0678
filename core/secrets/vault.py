"""Secrets at rest: encrypted and authenticated by Fernet, with the keys of `TUNERY_SECRET_KEYS`."""

from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from core.errors import ConfigurationError, InvalidRequest, Unavailable


class Unreadable(Unavailable):
    """None of the keys that this process has opens what is stored."""

    code = "secrets_unreadable"


class Vault:
    """Seals with the first key and opens with any: a new key is put first, the old one stays until all is
    sealed anew (`tunery secrets reseal`)."""

    def __init__(self, keys: str | None) -> None:
        """`keys` are separated by commas; without any, nothing can be stored. Raises ConfigurationError."""
        try:
            fernets = [Fernet(key.strip()) for key in (keys or "").split(",") if key.strip()]
        except ValueError as error:
            raise ConfigurationError(
                "TUNERY_SECRET_KEYS must hold keys of 32 bytes in URL-safe base64, separated by commas; "
                "`tunery secrets keygen` prints one"
            ) from error
        self._fernet = MultiFernet(fernets) if fernets else None

    @classmethod
    def of(cls, keys: SecretStr | None) -> Self:
        """Raises ConfigurationError."""
        return cls(keys.get_secret_value() if keys else None)

    @staticmethod
    def new_key() -> str:
        return Fernet.generate_key().decode()

    def seal(self, text: str) -> str:
        """Raises InvalidRequest where this server has no key."""
        if self._fernet is None:
            raise InvalidRequest(
                "This server cannot keep secrets, which this request needs: its operator has to set "
                "TUNERY_SECRET_KEYS.",
                code="secrets_not_configured",
            )
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises Unreadable."""
        if self._fernet is None:
            raise Unreadable("TUNERY_SECRET_KEYS is not set, so stored secrets cannot be read")
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise Unreadable("A stored secret's key is not among TUNERY_SECRET_KEYS") from error

    def reseal(self, sealed: str) -> str:
        """The same secret under the first key. Raises Unreadable."""
        return self.seal(self.open(sealed))
