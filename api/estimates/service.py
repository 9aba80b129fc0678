"""Makes an estimate for a request. Nothing here commits."""

from sqlalchemy.orm import Session

from api.estimates.schemas import EstimateJob
from api.job_estimates.estimate import estimate
from api.jobs.creation.facts import facts_of, this_machine
from api.jobs.creation.service import resolve
from core.catalog import Catalog
from core.estimates.job.devices import CARDS, DEVICE_NAMES
from core.estimates.job.report import Estimate
from core.settings import Settings


def estimate_for(
    session: Session, project_id: str, catalog: Catalog, settings: Settings, request: EstimateJob
) -> Estimate:
    """Return the estimate of the job that a request asks for. Raises InvalidRequest as a new job does."""
    found, spec = resolve(session, project_id, catalog, settings, request)
    machine = this_machine(session, spec)
    facts = facts_of(session, settings, spec, found, machine)
    known = {machine.name: machine for machine in (*CARDS, machine)}
    wanted = dict.fromkeys(request.devices or DEVICE_NAMES)
    return estimate(spec, facts, [known[name] for name in wanted], with_options=True)
