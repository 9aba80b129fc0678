"""The clients of one project. They ask again until they are answered, and write down what they were told."""

import json
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from bench.soak.plan import Dice
from core.statuses import ENDED
from faults.checker import FILES, JOBS, Client

AGAIN_SECONDS = 0.1, 1.0
UPLOADS = "/v1/uploads"
NOT_NOW = (429, 502, 503)  # answers after which a client asks again
ROWS = 24


@dataclass(frozen=True)
class Recipe:
    """What a job trains. Jobs with the same recipe must come to the same losses."""

    model: str
    epochs: int
    rank: int

    @property
    def steps(self) -> int:
        return self.epochs * ROWS // 4

    @classmethod
    def random(cls, numbers: random.Random, models: Any, epochs: int) -> "Recipe":
        return cls(numbers.choice(models), numbers.randint(1, epochs), numbers.choice([4, 8]))

    def body(self, file: str) -> dict[str, Any]:
        hyperparameters = {"n_epochs": self.epochs, "batch_size": 4}
        return {
            "model": self.model,
            "training_file": file,
            "seed": 11,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "adapter": {"type": "lora", "r": self.rank},
        }


@dataclass
class Project:
    """A project, its key, and all that its clients know. Several threads act for it at once."""

    name: str
    http: httpx.Client
    tally: Counter[str]
    """What clients did and met, shared by all projects"""
    signing_secret: str
    """Signs the webhooks of the project"""
    unexpected: list[str]
    """Answers that no client should get, shared by all projects"""
    status: dict[str, str] = field(default_factory=dict)
    """The last known status of each job that is not deleted"""
    recipes: dict[str, Recipe] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """The training file of each job"""
    cancelled: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.known = Client(self)

    @property
    def unfinished(self) -> list[str]:
        return [job for job, status in list(self.status.items()) if status not in ENDED]

    @property
    def ended(self) -> list[str]:
        return [job for job, status in list(self.status.items()) if status in ENDED]

    def ask(self, method: str, path: str, expected: tuple[int, ...], **body: Any) -> httpx.Response:
        """Send a request until it is answered, each time with the same Idempotency-Key."""
        headers = {"idempotency-key": uuid4().hex}
        attempts = 0
        while True:
            attempts += 1
            try:
                answer = self.http.request(method, path, headers=headers, **body)
            except httpx.TransportError:
                self.tally["requests whose answer did not come"] += 1
            else:
                if answer.status_code not in NOT_NOW:
                    break
                self.tally[f"requests that were answered {answer.status_code}"] += 1
            time.sleep(random.uniform(*AGAIN_SECONDS))
        self.tally["requests that were answered"] += 1
        self.tally["requests that were repeated with their key"] += attempts > 1
        if answer.status_code not in expected:
            said = f"{answer.status_code} {answer.text[:500]}"
            self.unexpected.append(f"{self.name}: {method} {path}, attempt {attempts}, was answered {said}")
        return answer

    def look(self) -> None:
        """Read the status of the jobs that have not ended."""
        for job in self.unfinished:
            answer = self.ask("GET", f"{JOBS}/{job}", (200, 404))
            if answer.is_success:
                self._note(job, answer)
            elif job not in self.deleting:  # it may have been deleted while the client asked again and again
                self.unexpected.append(f"{self.name}: {job} is gone, and nobody has deleted it")

    def _note(self, job: str, answer: httpx.Response) -> None:
        with self.lock:
            if job in self.status and self.status[job] not in ENDED:
                self.status[job] = answer.json()["status"]

    def upload(self) -> str | None:
        files = {"file": ("train.jsonl", dataset(ROWS))}
        answer = self.ask("POST", FILES, (200,), data={"purpose": "fine-tune"}, files=files)
        return self._new_file(answer.json()["id"]) if answer.is_success else None

    def upload_in_parts(self, dice: Dice) -> str | None:
        """Send a file in two parts. Some parts are cut first, in the middle of their bodies."""
        content = dataset(ROWS)
        announced = {"bytes": len(content), "filename": "train.jsonl", "mime_type": "text/jsonl"}
        created = self.ask("POST", UPLOADS, (200,), json={**announced, "purpose": "fine-tune"})
        if not created.is_success:
            return None
        path = f"{UPLOADS}/{created.json()['id']}"
        half = len(content) // 2
        parts = []
        for piece in (content[:half], content[half:]):
            if dice.random.random() < 0.5:
                self._send_a_cut_part(f"{path}/parts")
            parts.append(self.ask("POST", f"{path}/parts", (200,), files={"data": piece}).json().get("id"))
        if None in parts:
            return None
        completed = self.ask("POST", f"{path}/complete", (200,), json={"part_ids": parts})
        return self._new_file(completed.json()["file"]["id"]) if completed.is_success else None

    def _send_a_cut_part(self, path: str) -> None:
        there = urlsplit(str(self.http.base_url))
        head = (
            f"POST {path} HTTP/1.1\r\nhost: soak\r\nauthorization: {self.http.headers['authorization']}\r\n"
            "content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000\r\n\r\n"
            '--x\r\ncontent-disposition: form-data; name="data"; filename="x"\r\n\r\n{"messages"'
        )
        try:
            with socket.create_connection((there.hostname, there.port), timeout=10) as line:
                line.sendall(head.encode())
        except OSError:
            return
        self.tally["parts that were cut"] += 1

    def _new_file(self, file: str) -> str:
        with self.lock:
            self.known.files.add(file)
        return file

    def create(self, recipe: Recipe, file: str) -> None:
        answer = self.ask("POST", JOBS, (200,), json=recipe.body(file))
        if answer.is_success:
            job = answer.json()
            with self.lock:
                self.known.jobs.add(job["id"])
                self.recipes[job["id"]], self.files[job["id"]] = recipe, file
                self.status[job["id"]] = job["status"]

    def change(self, verb: str, job: str) -> None:
        """Pause, resume or cancel a job. A refusal is right if the job has changed since the last look."""
        answer = self.ask("POST", f"{JOBS}/{job}/{verb}", (200, 400, *self._gone(job)))
        self.tally[f"{verb}: {'done' if answer.is_success else 'refused'}"] += 1
        if answer.is_success:
            self._note(job, answer)
            if verb == "cancel":
                self.cancelled.add(job)

    def delete_job(self, job: str) -> None:
        self.deleting.add(job)
        answer = self.ask("DELETE", f"{JOBS}/{job}", (200, 400, 404))
        if answer.status_code == 400:  # it has not ended, as the client believed
            self.unexpected.append(f"{self.name}: {job} has ended and cannot be deleted: {answer.text}")
            return
        with self.lock:
            self.known.jobs.discard(job)
            self.known.deleted.add(job)
            self.status.pop(job, None)

    def delete_file(self, file: str) -> None:
        self.deleting.add(file)
        answer = self.ask("DELETE", f"{FILES}/{file}", (200, 404, 409))
        if answer.status_code != 409:
            with self.lock:
                self.known.files.discard(file)
                self.known.deleted.add(file)

    def _gone(self, name: str) -> tuple[int, ...]:
        return (404,) if name in self.deleting else ()


def dataset(rows: int) -> bytes:
    """Return rows of about forty tokens each."""
    messages = (
        [
            {"role": "user", "content": f"Reverse {number}."},
            {"role": "assistant", "content": f"{number} reversed is {str(number)[::-1]}."},
        ]
        for number in range(100, 100 + rows)
    )
    return "".join(json.dumps({"messages": pair}) + "\n" for pair in messages).encode()
