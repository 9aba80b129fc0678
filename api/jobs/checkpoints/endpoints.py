"""/v1/fine_tuning/jobs/…/checkpoints: list the checkpoints of a job, and download one."""

from starlette.responses import StreamingResponse

from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_store
from api.dependencies import ReadingSessions, ReadingThreads, Store, Transaction
from api.http import downloads
from api.http.errors import declared
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.jobs.checkpoints import service
from api.jobs.checkpoints.schemas import CheckpointObject
from api.schemas import Page
from core.errors import InvalidRequest, NotFound

router = feature("/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", "Fine-tuning jobs")


@router.get("", responses=declared(NotFound, InvalidRequest))
def list_checkpoints(
    session: Transaction,
    caller: CurrentCaller,
    fine_tuning_job_id: str,
    limit: LongLimit = 10,
    after: After = None,
) -> Page[CheckpointObject]:
    """List the checkpoints of the last three epochs and the best checkpoint, newest first.

    A job with `reinforcement` or `distillation` has the checkpoints of its three best validations instead of
    epochs: those with the highest `full_valid_mean_reward`, or with the lowest `full_valid_mean_reverse_kl`.
    If values are equal, the earlier validation is better. If an audit may end the job, no state is among them
    in which the audit has fallen.
    """
    model_name, checkpoints, has_more = service.list_page(
        session, caller.project_id, fine_tuning_job_id, after, limit
    )
    return Page.of([CheckpointObject.of(checkpoint, model_name) for checkpoint in checkpoints], has_more)


@router.get(
    "/{checkpoint_id}/content",
    response_class=StreamingResponse,
    responses=declared(NotFound) | downloads.documented(downloads.ZIP),
)
@waits_for_store
def download_checkpoint(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    fine_tuning_job_id: str,
    checkpoint_id: str,
) -> StreamingResponse:
    """Download the weights of a checkpoint as a zip file.

    Unpack it, and load an adapter with PEFT, or a whole model with transformers. The zip holds no tokenizer:
    use the base model's.
    """
    with sessions() as session:
        checkpoint = service.get(session, caller.project_id, fine_tuning_job_id, checkpoint_id)
    chunks = service.read_weights(store, checkpoint)
    return downloads.download(chunks, f"{checkpoint_id}.zip", threads, media_type=downloads.ZIP)
