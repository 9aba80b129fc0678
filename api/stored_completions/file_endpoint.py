"""/v1/files/from_completions: make a dataset of stored completions."""

from anyio import to_thread
from sqlalchemy.orm import Session, sessionmaker

from api.admission.auth import CurrentCaller
from api.admission.fair_share import ShortPermit, takes_no_permit
from api.admission.store_threads import in_threads
from api.dependencies import AppSettings, ReadingSessions, Sessions, Store, UploadThreads
from api.files import service as files
from api.files.registration import kept_if_registered, register_file
from api.files.schemas import FileObject
from api.http.errors import declared
from api.http.forms import receive
from api.http.idempotency import ThisAttempt, found_by
from api.http.routers import feature
from api.stored_completions.dataset import CompletionsFile
from api.stored_completions.schemas import MakeFile
from core.access.idempotency import Attempt, earlier_answer
from core.errors import Conflict, InvalidRequest, QuotaExceeded, TooLarge

router = feature("/v1/files", "Files")


@router.post("/from_completions", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded))
@takes_no_permit  # it mostly waits for the object store
async def make_file(
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    store: Store,
    sessions: Sessions,
    reading: ReadingSessions,
    threads: UploadThreads,
    permit: ShortPermit,
    body: MakeFile,
) -> FileObject:
    """Make a `fine-tune` file of stored completions.

    The file's `lineage` says what was selected, how many completions were read, and how many of them were
    left out for which reason.
    """
    made = CompletionsFile(
        body,
        caller.project_id,
        store,
        max_bytes=settings.max_file_bytes,
        max_row_bytes=settings.max_row_bytes,
    )
    async with permit():
        answer = await to_thread.run_sync(_earlier_or_open, sessions, attempt, body, made, limiter=threads)
    if answer is not None:
        return answer
    async with kept_if_registered(sessions, made.key, made.id, threads) as registered:
        received = await receive(in_threads(made.pages(reading), threads, permit), made, threads, permit)
        async with permit():
            details = {"lineage": received.lineage}
            file = await to_thread.run_sync(
                register_file, sessions, caller, attempt, body, received, details, limiter=threads
            )
        registered(file.id)
    return file


def _earlier_or_open(
    sessions: sessionmaker[Session], attempt: Attempt, body: MakeFile, made: CompletionsFile
) -> FileObject | None:
    """Return the answer of an earlier attempt, or else open the file that is to be made."""
    project_id = attempt.actor.project_id
    with sessions.begin() as session:
        answer = earlier_answer(session, attempt, body.model_dump_json(), found_by(files.get, project_id))
        if answer is not None:
            return FileObject.model_validate(answer)
        files.open_content(session, project_id, made.id)
        return None
