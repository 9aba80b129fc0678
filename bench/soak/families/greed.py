"""A project asks for more than its share, while the clients of the others do what they always do."""

from contextlib import suppress

from bench.fairness.abusers import NotPrepared, Order, abusing
from bench.fairness.abuses import ABUSES, Abuse
from bench.fairness.tenants import Tenant
from bench.soak.plan import Dice
from bench.soak.registry import fault
from bench.soak.service import Service

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
    return Tenant(f"{service.api_line.url}/v1", service.greedy_key, service.base_models[0])


for each in ABUSES.values():
    if each.name not in NO_ADAPTERS:
        _register(each)
