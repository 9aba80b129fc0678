"""The vault: encrypts and authenticates stored secrets with Fernet and the keys in `TUNERY_SECRET_KEYS`."""

from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from core.errors import ConfigurationError, InvalidRequest, Unavailable


class UnreadableSecret(Unavailable):
    """No key of this process can decrypt a stored secret."""

    code = "secrets_unreadable"


class Vault:
    """Encrypts ("seals") secrets with the first key, and decrypts ("opens") them with any key.

    To change the key, an operator puts a new one first and keeps the old one until `tunery secrets reseal`
    has encrypted all secrets again.
    """

    def __init__(self, keys: str | None) -> None:
        """Take the keys, separated by commas. Without a key, no secret can be stored or read.

        Raises ConfigurationError if a key has the wrong form.
        """
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
        """Return the vault of the setting `TUNERY_SECRET_KEYS`. Raises ConfigurationError."""
        return cls(keys.get_secret_value() if keys else None)

    @staticmethod
    def new_key() -> str:
        return Fernet.generate_key().decode()

    def seal(self, text: str) -> str:
        """Return the text encrypted with the first key. Raises InvalidRequest if this server has no key."""
        if self._fernet is None:
            raise InvalidRequest(
                "This request needs a server that stores secrets, and this server has no key for them: its "
                "operator must set TUNERY_SECRET_KEYS.",
                code="secrets_not_configured",
            )
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return the decrypted text. Raises UnreadableSecret if no key can decrypt it."""
        if self._fernet is None:
            raise UnreadableSecret("TUNERY_SECRET_KEYS is not set, so stored secrets cannot be read")
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise UnreadableSecret("The key of a stored secret is not among TUNERY_SECRET_KEYS") from error

    def reseal(self, sealed: str) -> str:
        """Return the same secret, encrypted with the first key. Raises UnreadableSecret."""
        return self.seal(self.open(sealed))
