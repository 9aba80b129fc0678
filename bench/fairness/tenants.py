"""Projects of a running service, and what their clients do most often."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from bench import ROOT

GIVE_UP_SECONDS = 60.0


@dataclass(frozen=True)
class Tenant:
    """A project of the service at `base_url`, which asks for answers of one base model."""

    base_url: str
    key: str
    model: str

    @cached_property
    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=GIVE_UP_SECONDS,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    def post(self, path: str, **body: Any) -> Any:
        """Return the JSON of the answer. Raises httpx.HTTPStatusError."""
        return self.http.post(path, **body).raise_for_status().json()

    def upload(self, name: str, content: bytes, purpose: str = "fine-tune") -> str:
        return str(self.post("/files", files={"file": (name, content)}, data={"purpose": purpose})["id"])


def new_tenant(home: Path, base_url: str, name: str, model: str) -> Tenant:
    """Make a project of the service whose data is in `home`, and an admin's key of it."""
    command = [sys.executable, "-m", "cli.main", "keys", "create", "--json", "--role", "admin"]
    made = subprocess.run(
        [*command, "--project", name, "--home", str(home)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Tenant(base_url, json.loads(made.stdout)["key"], model)
