"""One model of the lineage of a job. It imports no database, so that the engine can read specifications."""

from core.options import Options


class Ancestor(Options):
    """One model of a lineage: an adapter, or a checkpoint of a job.

    `job_id` is null for an adapter that was imported or composed, `adapter_id` and `step` tell the adapter or
    the checkpoint. `sha256` is the hash of the content that servers know too. A part of a composed adapter
    has the `weight` with which it was composed; other ancestors have none.
    """

    model: str
    adapter_id: str | None = None
    job_id: str | None = None
    step: int | None = None
    sha256: str
    weight: float | None = None
