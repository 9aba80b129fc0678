"""The life of a job: this package alone writes `Job.status` and `Claim`. API and worker both call it.

    submit ─► queued ─claim─► running ─finish─► succeeded
                ▲ ▲            │   └─────fail─► failed
                │ └lost,release┤
                │              ▼ pause
                └──resume─── paused

A queued job can be paused too, and a queued, running or paused job can be cancelled. A job that has ended can
be deleted, which changes no status. `client` has the changes that a client asks for, `worker` the writes of
the worker that holds the job, `renewal` the renewals of its leases, and `loss` the changes that follow the
loss of a trainer. They share `status`, `locks` and `lease`. Callers use the names below:
`lifecycle.claim(…)`.

Every function works inside the caller's transaction and never commits. A worker's write carries the job's
id, and the fence and nonce of its lease. If they no longer name an open claim, it raises LeaseLost and
nothing is written. All times are those of the database's clock. Locks are taken in one order: the job, then
its claim. When a job ends, its webhook deliveries are written in the same transaction and sent later
(`core/webhooks.py`).
"""

from core.jobs.lifecycle.client import cancel, delete, pause, resume, submit
from core.jobs.lifecycle.lease import (
    LOADING,
    PREPARING,
    READING_DATA,
    Lease,
    Progress,
    is_before_training,
    loading_phase,
)
from core.jobs.lifecycle.locks import owned_job, record_outside_event
from core.jobs.lifecycle.loss import (
    LOST,
    OUT_OF_MEMORY,
    lose_claims_of,
    lose_expired_claims,
    release_claims_of,
    release_expired_claims,
)
from core.jobs.lifecycle.renewal import renew, renew_all
from core.jobs.lifecycle.status import TRANSITIONS
from core.jobs.lifecycle.worker import (
    claim,
    fail,
    fine_tuned_model_name,
    finish,
    finish_pause,
    holds_a_claim,
    model_name,
    new_owner,
    record_checkpoint,
    record_data_check,
    release,
    trains_here,
)

__all__ = [
    "LOADING",
    "LOST",
    "OUT_OF_MEMORY",
    "PREPARING",
    "READING_DATA",
    "TRANSITIONS",
    "Lease",
    "Progress",
    "cancel",
    "claim",
    "delete",
    "fail",
    "fine_tuned_model_name",
    "finish",
    "finish_pause",
    "holds_a_claim",
    "is_before_training",
    "loading_phase",
    "lose_claims_of",
    "lose_expired_claims",
    "model_name",
    "new_owner",
    "owned_job",
    "pause",
    "record_checkpoint",
    "record_data_check",
    "record_outside_event",
    "release",
    "release_claims_of",
    "release_expired_claims",
    "renew",
    "renew_all",
    "resume",
    "submit",
    "trains_here",
]
