"""Runs a soak test: faults and clients phase after phase, then the wait until everything has settled."""

import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.soak import checks
from bench.soak.deck import Deck
from bench.soak.families import database
from bench.soak.memory import Memory
from bench.soak.plan import Dice, Plan
from bench.soak.programs import Popen
from bench.soak.project import Project, Recipe
from bench.soak.registry import FAULTS, Fault
from bench.soak.report import Report, by_family
from bench.soak.service import READY_SECONDS, Service, running
from core.access.keys import create_key
from core.access.projects import find_or_create_project
from core.roles import Role
from core.webhooks import EVENT_TYPES

LANES = 2  # so many faults strike at once
REST = 3.0, 20.0  # seconds between two faults of a lane
CLIENTS = 2  # threads that act for each project at once
THINK = 0.2, 2.0  # seconds between two actions of a client
CANCELLED, DELETED = 0.15, 0.6  # shares of the jobs; what is deleted leaves room on the disk
RESTARTS_SECONDS = 600.0  # of the phase that restarts Postgres again and again
HANG_SECONDS = 240.0  # a client of a service without faults is answered in this time


@dataclass(frozen=True)
class Phase:
    """A part of the test: how long it lasts, and which faults strike in it."""

    name: str
    seconds: float
    allows: Callable[[Fault], bool]
    restarts_postgres: bool = False
    waits_for_each_fault: bool = False


def phases(seconds: float) -> Sequence[Phase]:
    """Divide the time. In the last phase processes live on, so that their memory can be judged."""
    restarts = min(RESTARTS_SECONDS, seconds / 6)
    return [
        Phase("everything", seconds / 2, lambda _: True, waits_for_each_fault=True),
        Phase(
            "Postgres restarts",
            restarts,
            lambda fault: not fault.ends_processes and database.FAMILY not in fault.touches,
            restarts_postgres=True,
        ),
        Phase("processes live", seconds / 2 - restarts, lambda fault: not fault.ends_processes),
    ]


class Soak:
    """A soak test on a running service."""

    def __init__(self, plan: Plan, service: Service, say: Callable[[str], None]) -> None:
        self._plan, self._service, self._say = plan, service, say
        self._struck: Counter[tuple[str, str]] = Counter()
        self._tally: Counter[str] = Counter()
        self._broken: list[str] = []
        self._over = threading.Event()
        self._memory = Memory(service)
        self._began = time.monotonic()
        self._created = 0
        self._lock = threading.Lock()
        self._projects: list[Project] = []

    def run(self) -> None:
        """Run all phases. Afterwards no fault strikes, and no client creates anything."""
        self._wait_until_ready()
        self._projects = [self._new_project(number) for number in range(self._plan.projects)]
        self._began = time.monotonic()
        self._memory.start()
        clients = [
            self._thread(f"client {number} of {project.name}", self._act, project)
            for project in self._projects
            for number in range(CLIENTS)
        ]
        deck = Deck(FAULTS, self._plan.dice("deck", self._over).random)
        for phase in phases(self._plan.seconds):
            self._say(f"{phase.name}: {phase.seconds:.0f} s")
            self._run_phase(phase, deck)
        self._say("mending everything")
        self._service.mend_lines()
        self._service.thaw()
        self._over.set()
        self._wait_until_ready()
        for thread in clients:
            thread.join(HANG_SECONDS)
            if thread.is_alive():
                self._broken.append(f"{thread.name} still waits for an answer")

    def _run_phase(self, phase: Phase, deck: Deck) -> None:
        over = threading.Event()
        lanes = [
            self._thread(f"{phase.name}, lane {number}", self._strike, phase, deck, over)
            for number in range(LANES)
        ]
        if phase.restarts_postgres:
            lanes.append(self._thread("restarts", self._restart_postgres, over))
        deadline = time.monotonic() + phase.seconds
        while time.monotonic() < deadline or (phase.waits_for_each_fault and not deck.each_was_drawn):
            if not all(lane.is_alive() for lane in lanes):
                break
            time.sleep(0.1)
        over.set()
        for lane in lanes:
            lane.join()

    def _strike(self, phase: Phase, deck: Deck, over: threading.Event) -> None:
        """Let one fault after the other strike until the phase is over."""
        dice = self._plan.dice(threading.current_thread().name, over)
        while not over.is_set():
            fault = deck.draw(phase.allows)
            if fault is not None:
                try:
                    fault.strike(self._service, dice)
                finally:
                    deck.give_back(fault)
                with self._lock:
                    self._struck[fault.family, fault.name] += 1
            dice.wait(*REST)

    def _restart_postgres(self, over: threading.Event) -> None:
        dice = self._plan.dice("restarts of Postgres", over)
        killed, restarted = database.restart_again_and_again(self._service, dice)
        self._struck[database.FAMILY, "it is killed, again and again"] += killed
        self._struck[database.FAMILY, "it is restarted in order, again and again"] += restarted

    def _act(self, project: Project) -> None:
        """Be one of the clients of a project until the test is over."""
        dice = self._plan.dice(threading.current_thread().name, self._over)
        while not self._over.is_set():
            if self._may_create():
                self._create(project, dice)
            project.look()
            self._disturb(project, dice)
            dice.wait(*THINK)

    def _may_create(self) -> bool:
        """Return whether another job is due: jobs are spread evenly over the time of the test."""
        with self._lock:
            passed = (time.monotonic() - self._began) / self._plan.seconds
            due = self._created < self._plan.jobs * min(1.0, passed) + 2 and self._created < self._plan.jobs
            unfinished = sum(len(project.unfinished) for project in self._projects)
            if due and unfinished < self._plan.at_once:
                self._created += 1
                return True
        return False

    def _create(self, project: Project, dice: Dice) -> None:
        in_parts = dice.random.random() < 0.25
        file = project.upload_in_parts(dice) if in_parts else project.upload()
        if file is not None:
            project.create(Recipe.random(dice.random, self._plan.models, self._plan.epochs), file)

    def _disturb(self, project: Project, dice: Dice) -> None:
        """Change jobs and delete what is no longer needed, now and then."""
        verbs = [("pause", 0.2), ("resume", 0.5)]
        if len(project.cancelled) < CANCELLED * len(project.recipes):
            verbs.append(("cancel", 0.1))
        for verb, chance in verbs:
            unfinished = project.unfinished
            if unfinished and dice.random.random() < chance:
                project.change(verb, dice.choice(unfinished))
        if project.ended and len(project.deleting) < DELETED * len(project.recipes):
            job = dice.choice(project.ended)
            file = project.files[job]
            project.delete_job(job)
            project.delete_file(file)

    def _new_project(self, number: int) -> Project:
        name = f"project-{number}"
        with self._service.sessions.begin() as session:
            row = find_or_create_project(session, name)
            key = create_key(session, row, "soak", Role.ADMIN, None).value
        http = httpx.Client(
            base_url=self._service.api_line.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=45,
            trust_env=False,
        )
        endpoint = {
            "name": name,
            "url": f"{self._service.receiver.url}/{name}",
            "event_types": list(EVENT_TYPES),
        }
        secret = http.post("/v1/webhook_endpoints", json=endpoint).raise_for_status().json()["signing_secret"]
        return Project(name, http, self._tally, secret, self._broken)

    def settle(self) -> None:
        """Give each project one more job, resume what is paused, and wait until all jobs have ended."""
        deadline = time.monotonic() + self._plan.settle_seconds
        last = self._plan.dice("last jobs", self._over)
        for project in self._projects:
            self._create(project, last)
        while any(project.unfinished for project in self._projects) and time.monotonic() < deadline:
            for project in self._projects:
                project.look()
                for job in project.unfinished:
                    if project.status[job] == "paused":
                        project.change("resume", job)
            time.sleep(0.5)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._service.is_ready:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the API is not ready after {READY_SECONDS:.0f} s")
            time.sleep(0.2)

    def report(self) -> Report:
        """Check everything, stop the service, and return the result."""
        found = [*self._broken, *checks.broken(self._service, self._projects)]
        stories = [checks.story(self._service, sentence) for sentence in found]
        self._memory.stop()
        after = [*self._memory.violations(), *self._left_behind()]
        statuses = Counter(status for project in self._projects for status in project.status.values())
        deleted = [project.known.deleted & project.recipes.keys() for project in self._projects]
        statuses["deleted"] = sum(map(len, deleted))
        return Report(
            seed=self._plan.seed,
            seconds=round(time.monotonic() - self._began),
            jobs=dict(statuses),
            faults=by_family(self._struck),
            clients=dict(sorted(self._tally.items())),
            ends={program.name: program.ends_by_status for program in self._service.programs},
            memory=self._memory.over_time(),
            judged=self._memory.judged(),
            violations=[*found, *after],
            stories=[*stories, *("" for _ in after)],
        )

    def _left_behind(self) -> Iterator[str]:
        """Stop the service, and yield the processes that are left of it."""
        self._service.keeper.stop()
        for process in self._service.processes():
            yield f"process {process.pid} is left: {' '.join(process.cmdline())}"

    def _thread(self, name: str, target: Callable[..., None], *arguments: object) -> threading.Thread:
        """Start a thread of the test. If it breaks off, the test goes on, and fails."""

        def run() -> None:
            try:
                target(*arguments)
            except Exception:
                self._broken.append(f"the thread {name!r} of the test broke off: {traceback.format_exc()}")

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread


def soak(
    plan: Plan,
    folder: Path,
    popen: Popen = subprocess.Popen,
    say: Callable[[str], None] = print,
    **environment: str,
) -> Report:
    """Run a soak test with all its data in `folder`, and return its result."""
    with ExitStack() as stack:
        service = stack.enter_context(running(folder, {**plan.settings, **environment}, popen))
        test = Soak(plan, service, say)
        test.run()
        say("settling")
        test.settle()
        say("checking")
        return test.report()
