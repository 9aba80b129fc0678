"""Measure what a training loses to the server in its process while nobody chats.

    python -m bench.serving.beside --turns 24

The same round is trained again and again in one process, by turns with and without the server of
TUNERY_SERVE_SHARE, which reports itself to a real database. So neither the place of the weights in memory nor
another program makes the difference, as both do between two processes. Printed as JSON: the time with the
server by the time without it, of the clock and of the processor, as medians over the turns.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from pydantic import SecretStr

from bench.command_line import add_models, new_parser, positive
from bench.peers.measuring import SEED
from bench.training.ours import new_trainee, rendered, usual_step_tokens
from bench.training.workloads import sql_questions
from cli.embedded import EmbeddedServers
from core.catalog import SMOLLM2
from core.database import create_database
from core.schema import migrate
from core.secrets.vault import Vault
from core.settings import Settings
from worker.device.lending import Lending
from worker.device.model_slot import ModelSlot
from worker.device.turns import Turns
from worker.engine.step.context import PassContext, never_abandon
from worker.engine.step.loop import train_round
from worker.trainer.train.serving import ServingThread

SHARE = 0.3
RANK, BATCH_SIZE = 16, 4
ROUNDS = 2  # in each turn


class Training:
    """The same round of one job, as often as it is asked for, on a device that it may share."""

    def __init__(self, settings: Settings, most_rounds: int) -> None:
        self._settings = settings
        self._slot = ModelSlot(settings, torch.device("cpu"))
        self._slot.load(self._slot.find(SMOLLM2.id))
        self._base = self._slot.base
        lines = list(islice(sql_questions(random.Random(SEED)), BATCH_SIZE))
        rows = rendered(self._base, lines)
        self._trainee = new_trainee(self._base, "job", rows, BATCH_SIZE, RANK, epochs=most_rounds)
        self.turns = Turns(SHARE)
        self._lending = Lending(self._slot, self.turns, wake=lambda: None)

    def seconds(self, shares: bool) -> tuple[float, float]:
        """Return the seconds of ROUNDS rounds, of the clock and of the processor."""
        if not shares:
            return self._train(never_abandon)
        with self._server():
            return self._train(self._share)

    def _train(self, abandon: Callable[[], bool]) -> tuple[float, float]:
        context = PassContext(self._base, usual_step_tokens(self._base), abandon=abandon)
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(ROUNDS):
            train_round(context, [self._trainee])
        return time.perf_counter() - clock, time.process_time() - cpu

    def _share(self) -> bool:
        """Do what a trainer does between two micro-batches."""
        self._lending.answer(training=True)
        self.turns.give()
        return False

    @contextmanager
    def _server(self) -> Iterator[None]:
        server = ServingThread(self._settings, self._lending)
        server.start()
        time.sleep(2)  # it begins to listen, and reports itself
        try:
            yield
        finally:
            server.stop()
            server.join()


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as folder, EmbeddedServers(Path(folder)) as servers:
        settings = Settings(
            home=Path(folder),
            model_store=given.models,
            secret_keys=SecretStr(Vault.new_key()),
            serve_share=SHARE,
        ).with_servers(**servers.urls)
        migrate(create_database(settings.server("database_url")))
        print(json.dumps(measured(Training(settings, ROUNDS * (2 * given.turns + 1)), given.turns)))


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--turns", type=positive, default=24, help="of each way (default 24)")
    return parser.parse_args()


def measured(training: Training, turns: int) -> dict[str, object]:
    """Train by turns both ways, each turn in the other order than the one before it."""
    clock, cpu = [], []
    with training.turns.held():
        training.seconds(shares=False)  # warms up
        for turn in range(turns):
            order = (False, True) if turn % 2 == 0 else (True, False)
            found = {shares: training.seconds(shares) for shares in order}
            clock.append(found[True][0] / found[False][0])
            cpu.append(found[True][1] / found[False][1])
    return {
        "clock": statistics.median(clock),
        "processor": statistics.median(cpu),
        "clock_of_turns": clock,
        "processor_of_turns": cpu,
    }


if __name__ == "__main__":
    main()
