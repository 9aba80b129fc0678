"""What must hold after a soak test, beside what `faults.checker` says."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

from bench.soak.project import Project, Recipe
from bench.soak.service import Service
from core.statuses import ENDED
from core.tables import Claim, Event, Job, Metric, WebhookDelivery, WebhookEndpoint
from core.tables import Project as ProjectRow
from faults.checker import FILES, JOBS, violations
from faults.history import changes
from faults.receiver import Request

CLOSE = 0.12  # share by which losses of a step may differ: cohorts round differently, which grows in bf16
EVENTS_SHOWN = 30


def broken(service: Service, projects: Sequence[Project]) -> Iterator[str]:
    """Yield a sentence for each promise that is broken now. The service must have settled."""
    yield from violations(service, [project.known for project in projects])
    for project in projects:
        yield from _wrong_ends(project)
        yield from _made_twice(project)
    with service.sessions() as session:
        yield from _lost_steps(session, projects)
        for project in projects:
            yield from _wrong_deliveries(session, project, service.receiver.requests)


def _wrong_ends(project: Project) -> Iterator[str]:
    for job, status in project.status.items():
        wanted = "cancelled" if job in project.cancelled else "succeeded"
        if status != wanted:
            error = project.ask("GET", f"{JOBS}/{job}", (200,)).json().get("error")
            yield f"{job} is {status}, not {wanted}: {error}"


def _made_twice(project: Project) -> Iterator[str]:
    """Yield what no answer has named. Clients repeat each request until it is answered."""
    for path, known in ((JOBS, project.known.jobs), (FILES, project.known.files)):
        listed = project.ask("GET", path, (200,), params={"limit": 1000}).json()["data"]
        made = {each["id"] for each in listed if each.get("purpose") != "fine-tune-results"}
        for extra in made - known:
            yield f"{extra} exists, and no answer ever named it"


def _lost_steps(session: Session, projects: Sequence[Project]) -> Iterator[str]:
    """Yield succeeded jobs that lack a step, or whose losses are not those of other jobs of their recipe."""
    losses: dict[Recipe, dict[str, list[float]]] = defaultdict(dict)
    for project in projects:
        for job in (job for job, status in project.status.items() if status == "succeeded"):
            query = select(Metric.step, Metric.data).where(Metric.job_id == job).order_by(Metric.step)
            by_step = {step: data["train_loss"] for step, data in session.execute(query)}
            recipe = project.recipes[job]
            if list(by_step) == list(range(1, recipe.steps + 1)):
                losses[recipe][job] = list(by_step.values())
            else:
                yield f"{job} has succeeded, and has the steps {list(by_step)} of {recipe.steps}"
    for recipe, by_job in losses.items():
        usual = [median(step) for step in zip(*by_job.values(), strict=True)]
        for job, curve in by_job.items():
            furthest = max(abs(loss / other - 1) for loss, other in zip(curve, usual, strict=True))
            if furthest > CLOSE:
                yield f"{job} has a loss that is {furthest:.0%} from that of other jobs with {recipe}"


def _wrong_deliveries(session: Session, project: Project, received: Sequence[Request]) -> Iterator[str]:
    """Yield ends of jobs without their one delivery, and deliveries that are lost, foreign or forged."""
    rows = session.scalars(
        select(WebhookDelivery)
        .join(WebhookEndpoint)
        .join(ProjectRow, ProjectRow.id == WebhookEndpoint.project_id)
        .where(ProjectRow.name == project.name)
    ).all()
    announced = Counter(delivery.payload["data"]["id"] for delivery in rows)
    query = select(Job.id).join(ProjectRow).where(ProjectRow.name == project.name, Job.status.in_(ENDED))
    for job in session.scalars(query):
        if announced.pop(job, 0) != 1:
            yield f"the end of {job} was not announced once"
    for job in announced:
        yield f"{job} has not ended, and its end was announced"
    mine = [request for request in received if request.path == f"/{project.name}"]
    got = {request.headers["webhook-id"] for request in mine}
    for delivery in rows:
        if delivery.status == "delivered" and delivery.payload["id"] not in got:
            yield f"{delivery.id} counts as delivered, and was not received"
    for foreign in got - {delivery.payload["id"] for delivery in rows}:
        yield f"{project.name} received the webhook {foreign}, which is not one of its own"
    for forged in (request for request in mine if _is_forged(project, request)):
        yield f"{project.name} received a webhook with a wrong signature: {forged.body!r}"


def _is_forged(project: Project, request: Request) -> bool:
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    signer = Webhook(project.signing_secret)
    signature = signer.sign(request.headers["webhook-id"], sent_at, request.body.decode())
    return signature not in request.headers["webhook-signature"].split()


def story(service: Service, sentence: str) -> str:
    """Return what is known of the job that a violation names: its changes, its claims and its last events."""
    job = next((word.strip(".,:") for word in sentence.split() if word.startswith("ftjob-")), None)
    if job is None:
        return ""
    with service.sessions() as session:
        lines = [
            f"{change.status_before} -> {change.status}, fence {change.fence}"
            for change in changes(session)
            if change.job_id == job
        ]
        claims = session.scalars(select(Claim).where(Claim.job_id == job).order_by(Claim.fence))
        lines += [
            f"claim {claim.fence} of {claim.owner}: {claim.outcome}, step {claim.step}" for claim in claims
        ]
        events = select(Event).where(Event.job_id == job).order_by(Event.sequence.desc()).limit(EVENTS_SHOWN)
        newest = list(session.scalars(events))
        lines += [f"{each.created_at:%H:%M:%S} {each.message}" for each in reversed(newest)]
    return "\n".join(f"    {line}" for line in lines)
