"""The pages of metrics of the parts that `up` runs: their ports, and the list of them for Prometheus."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.client.home import Home
from cli.embedded.ports import PortClaim
from cli.up.addresses import reachable

if TYPE_CHECKING:
    from core.settings import Settings

PORTS = {"api": "api_metrics_port", "worker": "worker_metrics_port", "serve": "serve_port"}
PROGRAMS = {"api": "api", "worker": "worker", "serve": "server"}  # as the dashboards and alerts name them


@dataclass(frozen=True)
class Pages:
    """The settings with the ports of all pages, and the addresses of the pages of the parts that run."""

    settings: "Settings"
    addresses: dict[str, str]

    @classmethod
    @contextmanager
    def of(cls, settings: "Settings", names: Sequence[str]) -> Iterator["Pages"]:
        """Choose a port for each part that has none. The block keeps it from other programs.

        A part that is started again keeps the port that Prometheus knows.
        """
        missing = [PORTS[name] for name in names if not getattr(settings, PORTS[name])]
        claim = PortClaim(len(missing)) if missing else None
        try:
            chosen = {field: claim.first + number for number, field in enumerate(missing)} if claim else {}
            settings = settings.model_copy(update=chosen)
            hosts = {"serve": settings.serve_host}
            addresses = {
                name: f"{reachable(hosts.get(name, settings.metrics_host))}:{getattr(settings, PORTS[name])}"
                for name in names
            }
            yield cls(settings, addresses)
        finally:
            if claim is not None:
                claim.close()

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://{address}/metrics" for name, address in self.addresses.items()}

    def write_targets(self, home: Home) -> None:
        """Write the file from which Prometheus learns the addresses (`file_sd_configs`)."""
        targets = [
            {"targets": [address], "labels": {"program": PROGRAMS[name]}}
            for name, address in self.addresses.items()
        ]
        home.metrics_targets.write_text(json.dumps(targets, indent=2) + "\n")
