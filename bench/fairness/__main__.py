"""Measure how long a polite client waits for its chats beside projects that abuse the service.

    python -m bench.fairness                                  # every abuse, by 1 and by 49 projects
    python -m bench.fairness --abuses "long prompts,evals" --projects 2 --chats 30

A service of its own (`tunery up`, SmolLM2-135M-Instruct) answers short chats of one project, first alone,
and then beside each abuse. With --projects 50, 49 other projects abuse the service at the same time. With
"everything", each of them abuses it in another way. The service and all clients share the machine. The goal
is that a chat takes at most twice as long as alone, plus one step. A step is measured as the time to the
first token of a prompt of about 128 tokens. The result is printed, and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.command_line import add_models, names_in, new_parser, positive
from bench.fairness.abusers import Order, abusing
from bench.fairness.abuses import ABUSES, chat_rows, words
from bench.fairness.polite import STEP_WORDS, chats
from bench.fairness.tenants import Tenant, new_tenant
from bench.serving.workload import write_json
from bench.training import service as services
from bench.training.machine import describe
from bench.training.running import say
from cli.client.client import Client
from cli.client.watch import job_path
from core.catalog import SMOLLM2

EVERYTHING = "everything"
BEGIN_SECONDS = 5.0  # between the first request of an abuse and the first timed chat
SETTLE_SECONDS = 5.0


def main() -> None:
    given = arguments(sys.argv[1:])
    with (
        tempfile.TemporaryDirectory() as made,
        services.service(home := Path(made), given.models) as (_, client),
    ):

        def tenant(name: str) -> Tenant:
            return new_tenant(home, client.base_url, name, SMOLLM2.id)

        polite, adapter = tenant("polite"), home / "adapter.zip"
        adapter.write_bytes(trained_adapter(client))
        chats(polite, 5)
        step = chats(polite, 10, words(STEP_WORDS)).as_json()["first_p50"]
        found: dict[str, Any] = {"alone": chats(polite, given.chats).as_json(), "step": step}
        say(json.dumps(found))
        for projects in given.projects:
            greedy = [tenant(f"greedy-{projects}-{number}") for number in range(1, projects)]
            for name in given.abuses:
                if name == EVERYTHING and len(greedy) < len(ABUSES):
                    continue
                case = f"{name}, {projects} projects"
                found[case] = beside(polite, greedy, name, adapter, given.chats)
                say(f"{case}: {json.dumps(found[case])}")
    write_json(given.out, {"machine": asdict(describe()), **found})


def trained_adapter(client: Client) -> bytes:
    """Train a small LoRA, and return its archive."""
    job = services.create(client, services.upload(client, chat_rows(16).decode()), rank=4, batch_size=4)
    services.wait(client, [job])
    return b"".join(client.download(f"/adapters/{client.get(job_path(job))['adapter_id']}/content"))


def arguments(given: Sequence[str]) -> argparse.Namespace:
    known = [*ABUSES, EVERYTHING]
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument(
        "--abuses", type=lambda text: names_in(text, known), default=known, help="default: each"
    )
    parser.add_argument(
        "--projects", type=positive, nargs="+", default=[2, 50], help="with the polite one (default 2 50)"
    )
    parser.add_argument(
        "--chats", type=positive, default=50, help="timed chats beside each abuse (default 50)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/fairness.json")
    return parser.parse_args(given)


def beside(polite: Tenant, greedy: Sequence[Tenant], name: str, adapter: Path, number: int) -> dict[str, Any]:
    """Return the waits of the polite project beside an abuse, and what the abusers were answered."""
    names = cycle(ABUSES if name == EVERYTHING else [name])
    orders = [Order(tenant, each, str(adapter)) for tenant, each in zip(greedy, names, strict=False)]
    with abusing(orders) as answered:
        time.sleep(BEGIN_SECONDS)
        waits = chats(polite, number)
    time.sleep(SETTLE_SECONDS)
    return {**waits.as_json(), "abusers": dict(answered)}


if __name__ == "__main__":
    main()
