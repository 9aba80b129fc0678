"""Measure what chats and training on one device take from each other, and the memory that both need.

    python -m bench.serving.share                        # a few minutes on two idle cores
    python -m bench.serving.share --share 0.5 --turns 6

Two services run at once (`tunery up`): `apart` has a server beside its worker, and in `shared` the trainer
answers chats (TUNERY_SERVE_SHARE). Jobs without chats take turns on both (A B B A), so that a machine that
becomes slower slows both. Before that, both trainers are idle: what they take of the processor then, a
training lacks. Then jobs and chats run at once in `shared`. The base model is the catalog's
SmolLM2-135M-Instruct; jobs train LoRA of rank 16 on generated questions about tables. All jobs are the same,
and so must be their adapters. Chats ask for --new tokens, greedily, --chats at a time, each followed by the
next. The result is printed, and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

import psutil
from openai import OpenAI

from bench import ROOT
from bench.command_line import add_models, new_parser, positive
from bench.peers.measuring import SEED
from bench.serving.workload import write_json
from bench.training import service as services
from bench.training.machine import describe
from bench.training.running import say
from bench.training.workloads import sql_questions
from cli.client.client import Client
from cli.client.home import Home
from cli.client.watch import job_path
from core.catalog import SMOLLM2
from core.storage.file_names import WEIGHTS_NAME

RANK, BATCH_SIZE = 16, 8
IDLE_SECONDS = 20.0
SERVER = "serve"


class Service:
    """A running service, and what is measured of it."""

    def __init__(self, up: psutil.Process, client: Client, home: Path) -> None:
        self.up, self._client = up, client
        found = Home(home)
        url, key = found.base_url.read_text().strip(), found.api_key.read_text().strip()
        self._openai = OpenAI(base_url=url, api_key=key, max_retries=0, timeout=600)

    def private_bytes(self) -> dict[str, int]:
        """Return the memory that trainer and server share with no other process."""
        found = {
            "trainer": services.process_of(self.up, services.TRAINER),
            "server": services.process_of(self.up, SERVER),
        }
        return {name: each.memory_full_info().uss for name, each in found.items() if each}

    def train(self, rows: int) -> dict[str, Any]:
        """Train a job, and return its tokens by second of its rounds and by second of the processor.

        The first round is left out of the former: it takes longer.
        """
        trainer = services.process_of(self.up, services.TRAINER)
        assert trainer is not None
        lines = islice(sql_questions(random.Random(SEED)), rows)
        file = services.upload(self._client, "".join(json.dumps(row) + "\n" for row in lines))
        before = cpu_seconds(trainer.pid)
        job_id = services.create(self._client, file, RANK, BATCH_SIZE)
        services.wait(self._client, [job_id])
        cpu = cpu_seconds(trainer.pid) - before
        first, *_, last = services.rounds(self._client, job_id)
        seconds = last["trained_seconds"] - first["trained_seconds"]
        return {
            "tokens_per_second": (last["trained_tokens"] - first["trained_tokens"]) / seconds,
            "tokens_per_cpu_second": last["trained_tokens"] / cpu,
            "seconds": seconds,
            "weights": self._weights_of(job_id),
        }

    def _weights_of(self, job_id: str) -> str:
        """Return the hash of the adapter's weights."""
        adapter = self._client.get(f"/adapters/{self._client.get(job_path(job_id))['adapter_id']}")
        return next(str(file["sha256"]) for file in adapter["files"] if file["name"] == WEIGHTS_NAME)

    def chat(self, new: int) -> tuple[int, float, float]:
        """Chat once. Return tokens, seconds, and seconds to the first token."""
        began = time.perf_counter()
        stream = self._openai.chat.completions.create(
            model=SMOLLM2.id,
            messages=[{"role": "user", "content": "Tell a long story about a river and a city."}],
            max_tokens=new,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        first, tokens = 0.0, 0
        for chunk in stream:
            first = first or time.perf_counter() - began
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        return tokens, time.perf_counter() - began, first

    @contextmanager
    def chatting(self, at_once: int, new: int) -> Iterator[Callable[[], dict[str, float]]]:
        """Chat in the block. Yields what ends the chats and returns their figures."""
        ending = threading.Event()

        def chats() -> list[tuple[int, float, float]]:
            done = []
            while not ending.is_set():
                done.append(self.chat(new))
            return done

        def end() -> dict[str, float]:
            seconds = time.perf_counter() - began
            ending.set()
            done = [chat for each in running for chat in each.result()]
            # Those that were cut off by the end count as much as they lay inside
            last = time.perf_counter() - began
            tokens = sum(tokens for tokens, *_ in done)
            return {
                "chats": len(done),
                "tokens_per_second": tokens / last,
                "seconds": seconds,
                "first_token_s": statistics.median(first for *_, first in done),
            }

        with ThreadPoolExecutor(at_once) as pool:
            began = time.perf_counter()
            running = [pool.submit(chats) for _ in range(at_once)]
            try:
                yield end
            finally:
                ending.set()


def main() -> None:
    given = arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory() as made:
        homes = {name: Path(made) / name for name in ("apart", "shared")}
        share = {"apart": {}, "shared": {"TUNERY_SERVE_SHARE": str(given.share)}}
        with (
            services.service(homes["apart"], given.models, share["apart"]) as apart,
            services.service(homes["shared"], given.models, share["shared"]) as shared,
        ):
            found = measured(given, Service(*apart, homes["apart"]), Service(*shared, homes["shared"]))
    write_json(given.out, {"machine": asdict(describe()), "share": given.share, **found})


def arguments(words: list[str]) -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--share", type=float, default=0.3, help="of the device, for chats (default 0.3)")
    parser.add_argument("--turns", type=positive, default=4, help="jobs on each service (default 4)")
    parser.add_argument("--rows", type=positive, default=64, help="rows of a job (default 64)")
    parser.add_argument("--chats", type=positive, default=4, help="chats at a time (default 4)")
    parser.add_argument("--new", type=positive, default=64, help="tokens of an answer (default 64)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/share.json")
    return parser.parse_args(words)


def measured(given: argparse.Namespace, apart: Service, shared: Service) -> dict[str, Any]:
    """Run every case, and print each as soon as it is known."""
    say("warming up")
    for each in (apart, shared):
        each.train(16)
    shared.chat(8)
    say("measuring")
    idle = idle_shares({"apart": apart, "shared": shared})
    say(f"idle: {json.dumps(idle)}")
    turns = []
    for turn in range(given.turns):
        first, second = (apart, shared) if turn % 2 == 0 else (shared, apart)
        runs = {each: each.train(given.rows) for each in (first, second)}
        turns.append((runs[apart], runs[shared]))
    found: dict[str, Any] = {
        "idle_shares_of_a_core": idle,
        "nobody chats": {
            "apart": [each for each, _ in turns],
            "shared": [each for _, each in turns],
            **{unit: kept(turns, unit) for unit in ("tokens_per_second", "tokens_per_cpu_second")},
        },
    }
    tell("nobody chats", found)
    with shared.chatting(given.chats, given.new) as end:
        time.sleep(10)
        found["chats alone"] = end()
    tell("chats alone", found)
    with shared.chatting(given.chats, given.new) as end:
        job = shared.train(given.rows)
        found["both"] = {"job": job, "chats": end()}
    alone = statistics.median(each["tokens_per_second"] for _, each in turns)
    found["both"]["job_kept"] = job["tokens_per_second"] / alone
    found["adapters"] = len({each["weights"] for each in [job, *chain(*turns)]})  # 1: to the bit the same
    tell("both", found)
    say("measured")
    apart.chat(8)
    found["private_bytes"] = {"apart": apart.private_bytes(), "shared": shared.private_bytes()}
    tell("private_bytes", found)
    return found


def idle_shares(named: dict[str, Service]) -> dict[str, float]:
    """Return the shares of one core that the trainers take while nothing is to be done."""
    trainers = {name: services.process_of(each.up, services.TRAINER) for name, each in named.items()}
    pids = {name: trainer.pid for name, trainer in trainers.items() if trainer}
    began, before = time.perf_counter(), {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(IDLE_SECONDS)
    seconds = time.perf_counter() - began
    return {name: (cpu_seconds(pid) - before[name]) / seconds for name, pid in pids.items()}


def cpu_seconds(process: int) -> float:
    """Return the processor's seconds that all threads of a process have taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kept(turns: list[tuple[dict[str, Any], dict[str, Any]]], unit: str) -> float:
    """Return the share of the rate that is left with chats switched on: the median of the turns."""
    return statistics.median(shared[unit] / apart[unit] for apart, shared in turns)


def tell(case: str, found: dict[str, Any]) -> None:
    say(f"{case}: {json.dumps(found[case])}")


if __name__ == "__main__":
    main()
