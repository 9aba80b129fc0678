"""Reading a job's files from the real store, with the process that renders beside a trainer."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import torch
from sqlalchemy import select
from transformers import AutoTokenizer

from core.datasets.check import read_rows
from core.datasets.preparation.requests import Augmentation, Preparation
from core.errors import JobError, LeaseLost
from core.jobs.lifecycle import Progress, is_before_training
from core.objectives.registry import OBJECTIVES
from core.tables import Claim, Event, File, Job
from tests.fixtures.models.tiny import save_model, text, tiny_llama
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.processes.processes import named
from tests.fixtures.service.api import Api, Tenant, dataset, wait_for
from tests.fixtures.service.trainer import renderer, row_files
from worker.engine.base.base_model import ResidentBase
from worker.rendering.companions import with_companions
from worker.rendering.fingerprint import Fingerprint, beginning
from worker.rendering.render import Rendering
from worker.rendering.render_request import PrepareRequest, RenderRequest
from worker.trainer.reading import reader as reading
from worker.trainer.reading.reader import DataReader, JobData, Readers, close_when_read
from worker.trainer.report.job_lease import JobLease

WHOLE, CUT = 512, 25  # tokens; a row has a few more tokens than CUT
ENDLESS = 10**6  # tokens; a row of `slow_dataset` has fewer
SECONDS = 240
PROGRAM = "worker.rendering.render_process"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ResidentBase:
    """Return the parts of a base model that reading needs."""
    folder = tmp_path_factory.mktemp("model")
    save_model(tiny_llama(), folder, text)
    entry = SimpleNamespace(id="tiny", revision="1", quantization=None)
    facts = {"source_sha256": "a hash", "dtype": torch.float32, "compute": None, "tower": None}
    return cast(ResidentBase, SimpleNamespace(folder=folder, entry=entry, **facts))


def slow_dataset(rows: int = 50, turns: int = 1000) -> bytes:
    """Return rows that take seconds each: every answer is looked for in the text of the whole row."""
    turn = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    return (json.dumps({"messages": turn * turns}).encode() + b"\n") * rows


class Reading:
    """A claimed job whose files are read."""

    def __init__(self, api: Api, job_id: str, base: ResidentBase, readers: Readers) -> None:
        self._api, self.base, self._job_id, self.readers = api, base, job_id, readers
        self.job_lease = JobLease(api.sessions, api.claim(job_id), time.monotonic())
        self.reader: DataReader | None = None

    @property
    def job(self) -> Job:
        with self._api.sessions() as session:
            return session.get_one(Job, self._job_id)

    @property
    def claim(self) -> Claim:
        with self._api.sessions() as session:
            return session.get_one(Claim, (self._job_id, self.job_lease.lease.fence))

    def start(self, max_length: int = WHOLE) -> DataReader:
        self.reader = DataReader(self.job, self.base, max_length, self.job_lease, self.readers)
        return self.reader

    def read(self, max_length: int = WHOLE) -> JobData:
        return self.start(max_length).data.result(SECONDS)

    def messages(self) -> list[str]:
        self.job_lease.commit(lambda _session: None)
        with self._api.sessions() as session:
            query = select(Event.message).where(Event.job_id == self._job_id).order_by(Event.sequence)
            return list(session.scalars(query))

    def end(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.job_lease.close()


@pytest.fixture
def readers(api: Api) -> Readers:
    """Return the readers of one trainer."""
    return Readers(api.settings, api.store, renderer())


@pytest.fixture
def claimed(api: Api, alice: Tenant, base: ResidentBase, readers: Readers) -> Iterator[Any]:
    """Yield a function that creates a job with this training file, claims it and returns a `Reading`."""
    begun: list[Reading] = []

    def claim(content: bytes | None = None, **body: Any) -> Reading:
        job_id = alice.create_job(training_file=alice.upload(content or dataset(12)), **body)["id"]
        begun.append(Reading(api, job_id, base, readers))
        return begun[-1]

    yield claim
    for each in begun:
        each.end()


def render_process(parent: psutil.Process | None = None) -> psutil.Process:
    """Return the process that renders for `parent`, or for this test process. Its children render files."""

    def find() -> psutil.Process | None:
        return next(iter(named(PROGRAM, (parent or psutil.Process()).children())), None)

    found: psutil.Process = wait_for(find)
    return found


def renderings() -> list[psutil.Process]:
    return render_process().children()


def test_while_rows_are_read_a_job_that_goes_on_shows_where_it_stood(claimed: Any) -> None:
    job: Reading = claimed()
    stood = Progress("training", 7, 9, 0.5, trained_tokens=50, best_valid_loss=0.25, best_step=6)
    job.job_lease.progress(stood)
    job.read()
    job.job_lease.commit(lambda _session: None)
    assert is_before_training(job.claim.phase)
    for name, value in vars(replace(stood, phase=job.claim.phase)).items():
        assert getattr(job.claim, name) == value


def test_both_files_are_read_and_the_client_hears_of_rows_that_were_cut(alice: Tenant, claimed: Any) -> None:
    job: Reading = claimed(validation_file=alice.upload(dataset(10)))
    data = job.read(CUT)
    assert (data.training_file.id, len(data.training_rows)) == (job.job.training_file_id, 12)
    assert data.validation_file is not None
    assert (data.validation_file.id, len(data.validation_rows)) == (job.job.validation_file_id, 10)
    for param in ("training_file", "validation_file"):
        assert any(message.startswith(f"{param}: lines 1, 2") for message in job.messages())


def test_what_is_wrong_with_the_rows_is_told_before_training(alice: Tenant, claimed: Any) -> None:
    rows = dataset(12).splitlines(keepends=True)
    job: Reading = claimed(
        b"".join([*rows, rows[0]]),
        validation_file=alice.upload(b"".join([rows[3], *dataset(20).splitlines(True)[12:]])),
    )
    assert alice.job(job.job.id)["data_check"] is None
    job.read()
    found = alice.job(job.job.id)["data_check"]
    codes = {(each["file"], each["code"]): each for each in found}
    repeated = codes["training_file", "exact_duplicate"]
    assert (repeated["count"], repeated["lines"], repeated["severity"]) == (1, [13], "warning")
    assert codes["validation_file", "leaked_row"]["lines"] == [1]
    told = [message for message in job.messages() if "the training file has this row (line 1)" in message]
    assert len(told) == 1
    assert not any("nearly an earlier row" in message for message in job.messages()), "notes are not warnings"


def chat_rows() -> list[dict[str, Any]]:
    answers = [{"role": "assistant", "content": f"answer {n}", "weight": n % 2} for n in range(3)]
    question = {"role": "user", "content": "Well?"}
    mixed = [message for answer in answers for message in (question, answer)]
    return [{"messages": mixed}, *({"messages": [question, answer]} for answer in answers[1:2] * 11)]


def labelled_rows() -> list[dict[str, Any]]:
    question = {"role": "user", "content": "Well?"}
    answers = [{"role": "assistant", "content": f"answer {n}"} for n in range(12)]
    return [{"messages": [question, answer], "label": n % 2 == 0} for n, answer in enumerate(answers)]


def preference_rows() -> list[dict[str, Any]]:
    question, answer = {"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Yes"}
    return [
        {
            "input": {"messages": [question]},
            "preferred_output": [answer],
            "non_preferred_output": [{**answer, "content": f"No {n}"}],
        }
        for n in range(12)
    ]


@pytest.mark.parametrize(
    ("objective", "rows"),
    [("supervised", chat_rows()), ("dpo", preference_rows()), ("kto", labelled_rows())],
    ids=["chat", "preference", "labelled"],
)
def test_the_rows_and_the_fingerprint_are_those_of_a_rendering_in_one_process(
    claimed: Any, base: ResidentBase, objective: str, rows: list[dict[str, Any]]
) -> None:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    job: Reading = claimed(content, method={"type": objective}, seed=7)
    data = job.read()

    kind = OBJECTIVES[objective].dataset
    rendering = Rendering(AutoTokenizer.from_pretrained(base.folder), WHOLE, "training_file", kind)
    plain = list(rendering.render(read_rows([content])))
    if objective == "kto":
        plain = list(with_companions(plain, 7, WHOLE))
    fingerprint = Fingerprint(beginning(job.job.spec, "a hash", None, "torch.float32"))
    assert len(list(fingerprint.over(plain))) == len(data.training_rows)
    assert data.fingerprint == fingerprint.value  # a hash over every bit of every row
    again = Fingerprint(beginning(job.job.spec, "a hash", None, "torch.float32"))
    list(again.over(data.training_rows))
    assert again.value == fingerprint.value


def test_rows_say_where_the_job_s_adapter_is_invoked(claimed: Any, base: ResidentBase) -> None:
    texts = ["Please wake up.", "Please sleep.", "Please wake up, wake up!"]
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}
        for text in texts
    ]
    wake = AutoTokenizer.from_pretrained(base.folder)("wake", add_special_tokens=False)["input_ids"]
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows * 4)
    job: Reading = claimed(content, adapter={"alora_invocation_tokens": wake})
    found = job.read().training_rows
    for row in found:
        tokens = row.tokens_L.tolist()
        places = [n for n in range(len(tokens)) if tokens[n : n + len(wake)] == wake]
        assert row.acts_from == (places[-1] if places else len(tokens)), row.line
    assert {row.acts_from < len(row.tokens_L) for row in found} == {True, False}
    assert [message for message in job.messages() if "without alora_invocation_tokens" in message]


def test_a_small_job_is_read_while_a_large_one_is_read(claimed: Any) -> None:
    large, small = claimed(slow_dataset()), claimed()
    reading_large = large.start(ENDLESS)
    wait_for(renderings)
    assert len(small.read().training_rows) == 12
    assert not reading_large.data.done()


def test_a_job_that_leaves_is_not_read_to_its_end(claimed: Any) -> None:
    job = claimed(slow_dataset(12, turns=4000))  # so many that a row takes a quarter of a minute
    reader = job.start(ENDLESS)
    wait_for(renderings)
    reader.close()
    with pytest.raises(LeaseLost):
        reader.data.result(SECONDS)
    wait_for(lambda: not renderings(), 8)


@pytest.mark.usefixtures("no_collections")
def test_nothing_is_left_open_of_a_reading_that_failed_and_rows_are_closed_once_they_are_read(
    api: Api, alice: Tenant, claimed: Any
) -> None:
    """The errors still hold what was read, in their tracebacks."""
    fails = claimed(validation_file=alice.upload(dataset(40)))
    fails.readers.max_tokens["validation_file"] = 100
    with pytest.raises(JobError, match="more than 100 tokens"):
        fails.read()
    gone = claimed()
    with api.sessions() as session:
        api.store.delete(session.get_one(File, gone.job.training_file_id).object_key)
    with pytest.raises(JobError, match="is gone"):
        gone.read()
    assert not row_files(api)
    leaves = claimed(slow_dataset(12, turns=4000))
    reader = leaves.start(ENDLESS)
    wait_for(renderings)
    assert row_files(api), "the content that is rendered"
    reader.close()
    with pytest.raises(LeaseLost):
        reader.data.result(SECONDS)
    assert not row_files(api)
    late = claimed()
    close_when_read(late.start().data)
    assert len(late.reader.data.result(SECONDS).training_rows) == 12
    wait_for(lambda: not row_files(api))


def test_a_client_is_told_how_far_the_reading_is(claimed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_REPORT_SECONDS", 0)
    job = claimed()
    tokens = job.read().training_rows.summary.tokens
    told = [message for message in job.messages() if "training file" in message]
    assert told == [
        "Reading the training file: 0 of 12 rows",
        f"The training file has been read: {tokens:,} tokens",
    ]


def test_a_file_with_too_many_tokens_fails_its_job_as_soon_as_that_is_known(
    claimed: Any, readers: Readers
) -> None:
    readers.max_tokens["training_file"] = 100
    with pytest.raises(JobError, match=r"Up to line 4, .* more than 100 tokens") as raised:
        claimed().read(CUT + 5)
    assert (raised.value.code, raised.value.param) == ("too_many_tokens", "training_file")


@pytest.mark.exhaustive
def test_a_file_whose_rendering_dies_is_rendered_again(claimed: Any) -> None:
    job = claimed(slow_dataset(12, turns=100))
    reader = job.start(ENDLESS)
    (rendering,) = wait_for(renderings)
    rendering.kill()
    assert len(reader.data.result(SECONDS).training_rows) == 12


def test_a_job_whose_rendering_dies_twice_fails_alone(claimed: Any) -> None:
    job, other = claimed(slow_dataset()), claimed()
    reader = job.start(ENDLESS)
    (first,) = wait_for(renderings)
    first.kill()
    (second,) = wait_for(lambda: [each for each in renderings() if each.pid != first.pid])
    second.kill()
    with pytest.raises(JobError, match="most often because memory ran out") as raised:
        reader.data.result(SECONDS)
    assert (raised.value.code, raised.value.param) == ("rows_not_rendered", "training_file")
    assert len(other.read().training_rows) == 12


LOOPS = "{% for a in range(10**5) %}{% for b in range(10**5) %}{% endfor %}{% endfor %}"
PATTERN = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}


def with_template(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)


def with_pattern(folder: Path) -> None:
    """Let the tokenizer look for a pattern that takes exponential time."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    steps = [PATTERN, tokenizer["pre_tokenizer"]]
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (partial(with_template, template=LOOPS), "Line 1: .* more than 1 s"),
        (partial(with_template, template="{{ 'x' * 10**10 }}"), "Line 1: .* too much memory"),
        (with_pattern, "too much for the base model's tokenizer"),
    ],
    ids=["loops", "builds an endless text", "looks for a pattern"],
)
def test_a_base_model_that_takes_too_much_for_a_row_ends_its_job_alone(
    claimed: Any,
    base: ResidentBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    words: str,
) -> None:
    limits = {"row_seconds": 1, "row_bytes": 256 * 1024**2}
    monkeypatch.setattr(reading, "RenderRequest", partial(RenderRequest, **limits))
    answer = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x" * 200}]}
    job, other = claimed((json.dumps(answer).encode() + b"\n") * 12), claimed()
    folder = shutil.copytree(base.folder, tmp_path / "hostile")
    change(folder)
    job.base = cast(ResidentBase, SimpleNamespace(**{**vars(base), "folder": folder}))
    with pytest.raises(JobError, match=words) as raised:
        job.read()
    assert (raised.value.code, raised.value.param) == ("rows_not_rendered", "training_file")
    assert len(other.read().training_rows) == 12


def test_a_row_that_takes_too_long_to_prepare_is_refused_by_its_line(
    base: ResidentBase, tmp_path: Path
) -> None:
    asked = Preparation(augmentation=Augmentation(copies=4, typing_noise=0.2))
    request = PrepareRequest("training_file", "chat", asked, 1, tmp_path, row_seconds=1)
    row = {"messages": [{"role": "user", "content": "words " * 10**6}, {"role": "assistant", "content": "x"}]}
    file = tmp_path / "rows.jsonl"
    file.write_bytes(json.dumps(row).encode() + b"\n")
    with renderer().render(base.folder, FileIO(file), request) as channel:
        while isinstance(found := channel.recv(), int):
            pass
    assert isinstance(found, JobError)
    assert found.code == "rows_not_prepared"
    assert str(found).startswith("Line 1: to prepare the row takes more than 1 s")


def test_if_the_process_that_forks_dies_another_one_takes_its_place(claimed: Any) -> None:
    render_process().kill()
    assert len(claimed().read().training_rows) == 12


TRAINER = """
import sys, time
from pathlib import Path
from worker.rendering.render_request import RenderRequest
from worker.rendering.renderer import Renderer
from worker.rows.nameless_file import nameless_file

content, folder, renderer = nameless_file(None), Path(sys.argv[1]), Renderer()
content.write(sys.stdin.buffer.read())
request = RenderRequest("training_file", "chat", 10**6, 10**9, None, b"", folder)
with renderer.render(folder, content, request) as channel:
    channel.recv()
    print("rendering", flush=True)
    time.sleep(600)
"""


@pytest.mark.exhaustive
def test_nothing_is_left_of_a_rendering_whose_trainer_was_killed(base: ResidentBase) -> None:
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(base.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    try:
        assert trainer.stdin is not None
        assert trainer.stdout is not None
        trainer.stdin.write(slow_dataset(12, turns=4000))
        trainer.stdin.close()
        assert trainer.stdout.readline() == b"rendering\n"
        forks = render_process(psutil.Process(trainer.pid))
        family = [forks, *wait_for(forks.children)]
    finally:
        trainer.kill()
        trainer.wait()
    _, alive = psutil.wait_procs(family, SECONDS)
    assert not alive
