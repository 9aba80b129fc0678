"""Idempotency: a request that arrives twice creates its resource only once.

This holds with an idempotency key. Without a key, it holds as long as that resource is there.

The record with the answer is written in the transaction that creates the resource. A lock in the database
lets only one attempt at the same request proceed at a time. So this works between processes too, and also if
a process dies.

An answer that shows a secret is repeated too. Its record is encrypted with a key that only the caller has
(`core.secrets.for_holder`).
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Integer, Interval, Text, bindparam, func, literal_column, select, update
from sqlalchemy.orm import Session

from core import artifacts
from core.access.audit import Actor
from core.artifacts import Owner
from core.errors import AppError, Conflict
from core.process.failpoints import reached
from core.secrets.for_holder import OtherHolder, open_for, seal_for
from core.tables import IdempotencyRecord

KEPT = timedelta(hours=24)

# The official client gives an attempt ten minutes before it makes the next one.
RETRY_WINDOW = timedelta(minutes=15)

LARGE_ANSWER = 64 * 1024  # bytes; the count of a smaller one would cost more than the answer itself

Answer = dict[str, Any]

# Whether an answer is still true: what it shows is there, or what it set is set.
Stands = Callable[[Session, Answer], bool]

# Every creation runs these statements. They are built once, not again at each creation.
LOCK = select(
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text), literal_column("0")))
)
REPEATED = (
    select(IdempotencyRecord)
    .where(
        IdempotencyRecord.fingerprint == bindparam("fingerprint", type_=Text),
        IdempotencyRecord.retry_count >= bindparam("retry_count", type_=Integer),
        IdempotencyRecord.created_at > func.clock_timestamp() - bindparam("window", type_=Interval),
    )
    .order_by(IdempotencyRecord.id.desc())
    .limit(1)
)


@dataclass(frozen=True)
class Attempt:
    """A request as it arrived. The client sends `retry_count`; `arrived` is a `time.monotonic()`.

    `credential` is the API key or the browser's session that the request came with.
    """

    actor: Actor
    route: str
    idempotency_key: str | None
    retry_count: int
    arrived: float
    credential: str = field(repr=False)

    @property
    def may_be_another_request(self) -> bool:
        """Whether an equal request before this one may have been a request of its own.

        This is so for a retry without a key, since its own first attempt may have been refused or lost.
        """
        return self.idempotency_key is None and self.retry_count > 0


def once(
    session: Session,
    attempt: Attempt,
    asked: str,
    create: Callable[[], Answer],
    stands: Stands,
    *,
    shows_secret: bool = False,
    failed: Stands | None = None,
) -> Answer:
    """Return the answer of `create`, or of an earlier attempt with the same content `asked`.

    If `stands` says that the earlier answer is not true any more, it may be the answer to another request.
    Then a retry without an idempotency key creates.

    `failed` says of an earlier answer that what had begun then has come to nothing, so that this attempt
    creates. With `shows_secret`, the record of the answer is encrypted for the caller. Raises Conflict if the
    idempotency key was used for another request, or if only another browser session may read the answer.
    """
    fingerprint = _fingerprint(attempt, asked)
    _wait_for_other_attempts(session, attempt, fingerprint)
    if failed is not None:
        _forget_failed(session, attempt, fingerprint, failed)
    earlier = _standing(session, attempt, fingerprint, stands, shows_secret)
    if earlier is not None:
        return earlier
    return _carried_out(session, attempt, fingerprint, create, shows_secret)


def answer_at_end(session: Session, attempt: Attempt, asked: str, begun: Answer, answer: Answer) -> None:
    """Let later attempts get this answer, instead of the one that says what an attempt has begun."""
    of_request = IdempotencyRecord.fingerprint == _fingerprint(attempt, asked)  # it has an index
    begun_then = update(IdempotencyRecord).where(of_request, IdempotencyRecord.answer == begun)
    session.execute(begun_then.values(answer=answer))


def for_good(_session: Session, _answer: Answer) -> bool:
    """Return True: nobody can undo what the answer says, such as the end of an upload. For `stands`."""
    return True


def once_or_again(
    session: Session, attempt: Attempt, act: Callable[[], Answer], is_done: Callable[[AppError], bool]
) -> Answer:
    """Return the answer of `act`, which may be meant more than once, such as a pause.

    An earlier equal request does not show that a retry without an idempotency key was carried out: the client
    may have paused before, and the first try of this pause may have been refused. So the retry acts. If that
    is refused, and `is_done` says that it is done already, the earlier attempt's answer is returned.
    """
    if not attempt.may_be_another_request:
        return once(session, attempt, "", act, for_good)
    fingerprint = _fingerprint(attempt, "")
    _wait_for_other_attempts(session, attempt, fingerprint)
    try:
        with session.begin_nested():
            return _carried_out(session, attempt, fingerprint, act)
    except AppError as refusal:
        earlier = _earlier(session, attempt, fingerprint) if is_done(refusal) else None
        if earlier is None:
            raise
        return earlier.answer


def has_used_key(session: Session, attempt: Attempt) -> bool:
    """Return whether a request of the project was carried out with the attempt's idempotency key."""
    return _with_key(session, attempt) is not None


def earlier_answer(session: Session, attempt: Attempt, asked: str, stands: Stands) -> Answer | None:
    """Return the answer of an earlier attempt at `asked`, or None.

    Call this before long work, whose result `once` then stores, with the same `stands`.
    """
    return _standing(session, attempt, _fingerprint(attempt, asked), stands)


def _carried_out(
    session: Session,
    attempt: Attempt,
    fingerprint: str,
    act: Callable[[], Answer],
    shows_secret: bool = False,
) -> Answer:
    """Return the answer of `act`, which is recorded."""
    answer = act()
    record = IdempotencyRecord(
        project_id=attempt.actor.project_id,
        idempotency_key=attempt.idempotency_key,
        fingerprint=fingerprint,
        retry_count=attempt.retry_count,
        answer=_sealed(answer, attempt) if shows_secret else answer,
    )
    session.add(record)
    session.flush()
    _count(session, record)
    reached("request.carried_out")
    return answer


def _count(session: Session, record: IdempotencyRecord) -> None:
    """Let a large answer count for the quota as long as it is kept, also once what it shows is deleted."""
    if len(json.dumps(record.answer)) > LARGE_ANSWER:
        owner = Owner("answer", str(record.id))
        artifacts.hold(session, owner, record.project_id, record.answer, lasts=KEPT)


def _sealed(answer: Answer, attempt: Attempt) -> Answer:
    return {"sealed": seal_for(attempt.credential, json.dumps(answer))}


def _opened(recorded: Answer, attempt: Attempt) -> Answer:
    try:
        opened: Answer = json.loads(open_for(attempt.credential, recorded["sealed"]))
    except OtherHolder as error:
        raise Conflict(
            "This request was carried out before, in another browser session. Its answer holds a secret, "
            "which is shown only to that session. Send a new Idempotency-Key to create another one.",
            code="answer_of_another_session",
        ) from error
    return opened


def _standing(
    session: Session,
    attempt: Attempt,
    fingerprint: str,
    stands: Stands,
    shows_secret: bool = False,
) -> Answer | None:
    """Return the answer of an earlier attempt, unless it may be another request's and stands no more."""
    earlier = _earlier(session, attempt, fingerprint)
    if earlier is None:
        return None
    answer = _opened(earlier.answer, attempt) if shows_secret else earlier.answer
    return None if attempt.may_be_another_request and not stands(session, answer) else answer


def _forget_failed(session: Session, attempt: Attempt, fingerprint: str, failed: Stands) -> None:
    """Delete the record of an earlier attempt that has come to nothing, whatever it asked for."""
    keyed = attempt.idempotency_key is not None
    record = _with_key(session, attempt) if keyed else _repeated(session, attempt, fingerprint)
    if record is not None and failed(session, record.answer):
        session.delete(record)
        session.flush()


def _earlier(session: Session, attempt: Attempt, fingerprint: str) -> IdempotencyRecord | None:
    if attempt.idempotency_key is None:
        return _repeated(session, attempt, fingerprint)
    record = _with_key(session, attempt)
    if record is not None and record.fingerprint != fingerprint:
        raise Conflict(
            "This Idempotency-Key was used for another request; send a new key with a new request.",
            code="idempotency_key_reused",
        )
    return record


def _with_key(session: Session, attempt: Attempt) -> IdempotencyRecord | None:
    """Return the record with the attempt's idempotency key, whatever its request was."""
    query = select(IdempotencyRecord).where(
        IdempotencyRecord.project_id == attempt.actor.project_id,
        IdempotencyRecord.idempotency_key == attempt.idempotency_key,
    )
    return session.scalars(query).one_or_none()


def _repeated(session: Session, attempt: Attempt, fingerprint: str) -> IdempotencyRecord | None:
    """Return the record of another attempt at the same request, for a request without an idempotency key.

    A client that counts its retries shows which requests are repetitions. A first attempt is a repetition
    only if a retry of it was answered first, after the first attempt had arrived here. Two equal first
    attempts are two requests.
    """
    asked: dict[str, Any] = {"fingerprint": fingerprint, "retry_count": 0, "window": RETRY_WINDOW}
    if attempt.retry_count == 0:
        asked["retry_count"] = 1
        asked["window"] = timedelta(seconds=time.monotonic() - attempt.arrived)
    return session.scalars(REPEATED, asked).first()


def _wait_for_other_attempts(session: Session, attempt: Attempt, fingerprint: str) -> None:
    """Wait until the transactions of other attempts have ended. Then this transaction sees their records.

    Projects choose their keys without knowing of each other. So the lock's name holds the project too.
    """
    name = f"{attempt.actor.project_id}\n{attempt.idempotency_key or fingerprint}"
    session.execute(LOCK, {"name": name})


def _fingerprint(attempt: Attempt, asked: str) -> str:
    whole = "\n".join((attempt.actor.project_id, attempt.actor.key_id or "", attempt.route, asked))
    return hashlib.sha256(whole.encode()).hexdigest()
