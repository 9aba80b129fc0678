"""A project asks for more than its share, while the clients of the others do what they always do."""

from contextlib import suppress

from bench.fairness.abusers import NotPrepared, Order, abusing
from bench.fairness.abuses import ABUSES, Abuse
from bench.fairness.tenants import Tenant
from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service
from core.access.keys import create_key
from core.access.projects import find_or_create_project
from core.roles import Role

FAMILY = "greed"
NO_ADAPTERS = {"weight searches"}  # what cannot be asked for with an archive of nonsense


def _register(abuse: Abuse) -> None:
    @fault(FAMILY, abuse.name)
    def strike(service: Service, dice: Dice) -> None:
        adapter = service.folder / "adapter.zip"
        adapter.write_bytes(b"This is not an archive")
        with suppress(NotPrepared), abusing([Order(_tenant(service), abuse.name, str(adapter))]):
            dice.wait(5, 30)


def _tenant(service: Service) -> Tenant:
    with service.sessions.begin() as session:
        project = find_or_create_project(session, "greedy")
        key = create_key(session, project, "soak", Role.ADMIN, None).value
    return Tenant(f"{service.api_line.url}/v1", key, service.base_models[0])


for each in ABUSES.values():
    if each.name not in NO_ADAPTERS:
        _register(each)
