"""Finds the caller to whom a token belongs. Known tokens never wait behind unknown ones."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session, sessionmaker

from api.admission.strangers import Strangers
from core.access import keys, sign_ins
from core.access.audit import Actor
from core.access.quotas import Quotas
from core.access.sign_ins import SESSION_PREFIX
from core.errors import NotAuthenticated, PermissionDenied
from core.roles import Role
from core.settings import Settings

# A token stays known for so many seconds after its last look-up.
KNOWN_SECONDS = 3600.0
MOST_KNOWN = 10_000

# The threads that look up known tokens again. Each key has one look-up at a time.
KNOWN_AT_ONCE = 2

NO_QUOTAS = Quotas()


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
    """The caller of a token, and the `time.monotonic()` at which the look-up of the token began."""

    caller: Caller
    looked_up: float


class Callers:
    """Looks up tokens, and trusts each of them for `key_trust_seconds` after its look-up.

    A token that was valid before is looked up again in threads that unknown tokens cannot take. An unknown
    token is looked up in a turn of the strangers.
    """

    def __init__(self, sessions: sessionmaker[Session], settings: Settings, strangers: Strangers) -> None:
        self._sessions = sessions
        self._settings = settings
        self._strangers = strangers
        self._threads = CapacityLimiter(KNOWN_AT_ONCE)
        self._known: OrderedDict[bytes, Known] = OrderedDict()  # the one looked up longest ago comes first
        self._looking_up: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def find(self, token: str) -> Caller:
        """Return the caller. Raises NotAuthenticated, and Unavailable if too many strangers wait."""
        digest = hashlib.sha256(token.encode()).digest()
        if (caller := self._trusted(digest)) is not None:
            return caller
        if digest in self._known:
            async with self._looking_up.setdefault(digest, asyncio.Lock()):
                return self._trusted(digest) or await self._look_up(token, digest, self._threads)
        _refuse_malformed(token)
        with ExitStack() as turn:
            await self._strangers.enter(turn)
            return self._trusted(digest) or await self._look_up(token, digest, self._strangers.threads)

    def _trusted(self, digest: bytes) -> Caller | None:
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.looked_up > self._settings.key_trust_seconds:
            return None
        return known.caller

    async def _look_up(self, token: str, digest: bytes, threads: CapacityLimiter) -> Caller:
        began = time.monotonic()
        try:
            caller = await to_thread.run_sync(self._read, token, limiter=threads)
        except NotAuthenticated:
            self._known.pop(digest, None)
            raise
        self._known[digest] = Known(caller, began)
        self._known.move_to_end(digest)
        self._forget_old(began)
        return caller

    def _read(self, token: str) -> Caller:
        with self._sessions() as session:
            of_browser = token.startswith(SESSION_PREFIX)
            key = sign_ins.authenticate(session, token) if of_browser else keys.authenticate(session, token)
        quotas = Quotas.of(key.project, self._settings)
        of_operator = key.project.name == self._settings.operator_project
        return Caller(key.project_id, key.id, None, Role(key.role), quotas, of_operator)

    def _forget_old(self, now: float) -> None:
        while self._known:
            oldest = next(iter(self._known.values()))
            if len(self._known) <= MOST_KNOWN and now - oldest.looked_up < KNOWN_SECONDS:
                return
            self._known.popitem(last=False)


def _refuse_malformed(token: str) -> None:
    """Raise NotAuthenticated for a key that is no key of ours, without a thread or a connection."""
    if not token.startswith(SESSION_PREFIX):
        keys.id_in(token)
