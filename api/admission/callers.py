"""Finds the caller to whom a credential belongs. Known ones never wait behind unknown ones."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from sqlalchemy.orm import Session, sessionmaker

from api.admission import sign_ins
from api.admission.shared_reads import SharedReads
from api.admission.sign_ins import SESSION_PREFIX
from api.admission.strangers import LOOK_UP_SECONDS, Strangers
from core.access import keys
from core.access.audit import Actor
from core.access.quotas import Quotas
from core.errors import NotAuthenticated, PermissionDenied
from core.roles import Role
from core.settings import Settings
from core.tables import ApiKey

KNOWN_SECONDS = 3600.0
MOST_KNOWN = 10_000

NO_QUOTAS = Quotas()

Authenticate = Callable[[Session, Sequence[str]], dict[str, ApiKey | NotAuthenticated]]


@dataclass(frozen=True)
class Caller(Actor):
    """The holder of the API key. A request sees only what belongs to the project, or is shared with it."""

    role: Role = Role.READ_ONLY
    quotas: Quotas = NO_QUOTAS
    of_operator: bool = False
    """True for the operator's project, whose admin keys administer the installation."""

    def require(self, role: Role) -> None:
        """Raise PermissionDenied unless the caller's role includes `role`."""
        if not self.role.includes(role):
            raise PermissionDenied(
                f"This API key has the role '{self.role}', but this request needs the role '{role}'. "
                f"An administrator can make such a key with `tunery keys create --role {role}`."
            )


class Known(NamedTuple):
    """The caller of a credential, and the `time.monotonic()` at which its look-up began."""

    caller: Caller
    looked_up: float


class LookUps:
    """Looks up credentials: API keys with one query at a time, and sessions of browsers with another."""

    def __init__(self, sessions: sessionmaker[Session], settings: Settings, rest: float = 0.0) -> None:
        self._sessions = sessions
        self._settings = settings
        self._keys = SharedReads(partial(self._read, keys.authenticate_all), rest)
        of_browsers = partial(sign_ins.authenticate_all, only_people=settings.sign_on_only)
        self._browsers = SharedReads(partial(self._read, of_browsers), rest)

    async def find(self, credential: str) -> Caller:
        """Return the caller, read after this call began. Raises NotAuthenticated."""
        found = await (self._browsers if credential.startswith(SESSION_PREFIX) else self._keys).read(
            credential
        )
        assert found is not None, "each credential gets a caller or an error"
        if isinstance(found, NotAuthenticated):
            raise found
        return found

    def _read(
        self, authenticate_all: Authenticate, credentials: list[str]
    ) -> dict[str, Caller | NotAuthenticated]:
        with self._sessions() as session:
            found = authenticate_all(session, credentials)
        return {
            credential: key if isinstance(key, NotAuthenticated) else self._caller(key)
            for credential, key in found.items()
        }

    def _caller(self, key: ApiKey) -> Caller:
        quotas = Quotas.of(key.project, self._settings)
        of_operator = key.project.name == self._settings.operator_project
        return Caller(key.project_id, key.id, None, Role(key.role), quotas, of_operator)


class Callers:
    """Looks up credentials, and trusts each of them for `key_trust_seconds` after its look-up.

    A credential that was valid before is looked up again in threads that unknown credentials cannot take.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        settings: Settings,
        strangers: Strangers,
        most_known: int = MOST_KNOWN,
        known_seconds: float = KNOWN_SECONDS,
    ) -> None:
        """`most_known` credentials stay known, each of them for `known_seconds` after its last look-up."""
        self._trust_seconds = settings.key_trust_seconds
        self._most_known, self._known_seconds = most_known, known_seconds
        self._strangers = strangers
        self._known: OrderedDict[bytes, Known] = OrderedDict()  # the one looked up longest ago comes first
        self._of_known = LookUps(sessions, settings)
        self._of_strangers = LookUps(sessions, settings, LOOK_UP_SECONDS)

    async def find(self, credential: str) -> Caller:
        """Return the caller. Raises NotAuthenticated, and Unavailable if too many strangers wait."""
        digest, now = hashlib.sha256(credential.encode()).digest(), time.monotonic()
        known = self._known.get(digest)
        if known is None:
            _refuse_malformed(credential)
            async with self._strangers.waiting():
                caller = await self._of_strangers.find(credential)
        elif now - known.looked_up <= self._trust_seconds:
            return known.caller
        else:
            caller = await self._look_up_again(credential, digest)
        self._remember(digest, Known(caller, now))
        return caller

    async def _look_up_again(self, credential: str, digest: bytes) -> Caller:
        try:
            return await self._of_known.find(credential)
        except NotAuthenticated:
            self._known.pop(digest, None)
            raise

    def _remember(self, digest: bytes, known: Known) -> None:
        self._known[digest] = known
        self._known.move_to_end(digest)
        while self._known:
            oldest = next(iter(self._known.values()))
            is_recent = known.looked_up - oldest.looked_up < self._known_seconds
            if is_recent and len(self._known) <= self._most_known:
                return
            self._known.popitem(last=False)


def _refuse_malformed(credential: str) -> None:
    """Raise NotAuthenticated for a key that is not a key of ours, without a thread or a connection."""
    if not credential.startswith(SESSION_PREFIX):
        keys.id_in(credential)
