"""Runs the clients that abuse a service in a process of their own, which may end in the middle of a request.

The process reads its orders as one line of JSON, prepares them, and prints the status of every answer. When
its standard input ends, it cancels the tasks that it has begun, and ends.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from bench import ROOT
from bench.fairness.abuses import ABUSES, Abuse
from bench.fairness.tenants import Tenant

AGAIN_SECONDS = 0.05  # after which a client that was refused asks again
END_SECONDS = 60.0


class NotPrepared(Exception):
    """The service did not let the abusers prepare."""


@dataclass(frozen=True)
class Order:
    """A project and the abuse that it shall do. `adapter` is the path of an adapter's zip."""

    tenant: Tenant
    abuse: str
    adapter: str


@contextmanager
def abusing(orders: Sequence[Order]) -> Iterator[Counter[str]]:
    """Let projects abuse the service within the block. Raises NotPrepared.

    After the block, the counter says how many answers had which status; 0 is a request without an answer.
    """
    answered: Counter[str] = Counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.fairness.abusers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin
    assert process.stdout
    counting = threading.Thread(target=answered.update, args=(map(str.strip, process.stdout),))
    try:
        process.stdin.write(json.dumps([asdict(order) for order in orders]) + "\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise NotPrepared
        counting.start()
        yield answered
    finally:
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    counting.join()


def main() -> None:
    over = threading.Event()
    orders = [Order(**{**each, "tenant": Tenant(**each["tenant"])}) for each in json.loads(input())]
    prepared = [
        (order.tenant, kind := ABUSES[order.abuse], kind.prepare(order.tenant, Path(order.adapter)))
        for order in orders
    ]
    print("prepared", flush=True)
    for each in prepared:
        for _ in range(each[1].connections):
            threading.Thread(target=_send_until, args=(over, *each), daemon=True).start()
    sys.stdin.read()
    over.set()
    for tenant, kind, thing in prepared:
        kind.end(tenant, thing)
    os._exit(0)  # leave all requests


def _send_until(over: threading.Event, tenant: Tenant, kind: Abuse, thing: Any) -> None:
    while not over.is_set():
        try:
            status = kind.send(tenant, thing)
        except httpx.TransportError:
            status = 0
        os.write(1, b"%d\n" % status)  # in one piece, whatever other threads write
        if status != httpx.codes.OK:
            time.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    main()
