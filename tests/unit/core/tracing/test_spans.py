"""Spans in one process: what they cost without a collector, and what the collector gets."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from core.process.logs import configure_logs
from core.tracing import spans
from core.tracing.sending import Queue, Sender
from tests.fixtures.outside.collector import Collector, sending_as
from tests.fixtures.paths import REPOSITORY

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROGRAMS = ("api.app", "worker.supervisor.service", "worker.trainer.train.trainer", "worker.server.service")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Yield a collector to which this process sends its spans."""
    with sending_as("api") as collector:
        yield collector


def run(program: str, **variables: str) -> str:
    """Return what a new Python writes, on either stream."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_collector_nothing_is_imported(variables: dict[str, str]) -> None:
    imports = "\n".join(f"import {name}" for name in (PROGRAMS if not variables else ()))
    program = (
        f"import sys\n{imports}\nfrom core.tracing import spans\nbefore = set(sys.modules)\n"
        "spans.start('api')\nours = {'core.tracing.sending', 'opentelemetry.exporter'} & sys.modules.keys()\n"
        "print(spans.is_on(), ours, set(sys.modules) - before)"
    )
    assert "False set() set()" in run(program, **variables)


@pytest.mark.parametrize(
    ("hidden", "variables", "told"),
    [
        ("opentelemetry.sdk", {}, "pip install 'tunery[traces]'"),
        ("nothing", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf is spoken, not grpc"),
        ("nothing", {"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, "max_export_batch_size must be less"),
        ("nothing", {"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "a variable OTEL_… is wrong"),
    ],
)
def test_a_collector_that_cannot_be_reached_this_way_is_told_once(
    hidden: str, variables: dict[str, str], told: str
) -> None:
    program = (
        f"import sys\nsys.modules[{hidden!r}] = None\nfrom core.tracing import spans\nspans.start('api')\n"
        "with spans.begin('work'): print(spans.is_on())"
    )
    written = run(program, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **variables)
    assert "False" in written
    assert written.count(told) == 1


def test_what_the_operator_says_of_a_process_goes_before_what_it_says_itself() -> None:
    given = {"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=mine", "OTEL_SERVICE_NAME": ""}
    with sending_as("api", **given) as collector, spans.begin("work"):
        pass
    found = collector.seen[0].resource
    assert (found["service.namespace"], found["service.name"]) == ("mine", "tunery-api")


def test_the_end_of_a_process_sends_its_last_spans() -> None:
    with sending_as("api", OTEL_BSP_SCHEDULE_DELAY="60000") as collector:
        with spans.begin("work"):
            pass
        spans.stop()
        assert collector.named("work")


def test_a_span_goes_on_with_the_trace_of_its_parent(collector: Collector) -> None:
    headers = {"traceparent": CLIENT, "tracestate": "vendor=1"}
    with spans.answering("work", {"tunery.bytes": 3}, headers) as work:
        assert work.kept_in == CLIENT.split("-")[1]
        with spans.child("part") as part:
            assert spans.outgoing() == {"traceparent": part.traceparent, "tracestate": "vendor=1"}
        work.event("half")
    (found,) = collector.wait_for("work")
    (inner,) = collector.named("part")
    assert (found.trace, found.parent) == tuple(CLIENT.split("-")[1:3])
    assert (inner.trace, inner.parent) == (found.trace, found.id)
    assert found.attributes["tunery.bytes"] == 3
    assert found.events == ("half",)
    assert found.process == "api"


@pytest.mark.parametrize("parent", [None, "", "nonsense", "00-0-0-01", CLIENT.replace("0af", "0AG")])
def test_a_traceparent_that_is_none_begins_a_new_trace(collector: Collector, parent: str | None) -> None:
    with spans.begin("work", parent=parent) as work:
        assert work.traceparent is not None
        assert work.traceparent.split("-")[1] != CLIENT.split("-")[1]
    (found,) = collector.wait_for("work")
    assert found.parent == ""


def test_what_fails_is_marked_by_a_word_and_never_by_a_message(collector: Collector) -> None:
    with pytest.raises(ValueError, match="secret"), spans.begin("work"):
        raise ValueError("a secret of the client")
    (found,) = collector.wait_for("work")
    assert found.failed
    assert found.attributes == {"error.type": "ValueError"}
    assert "secret" not in repr(collector.seen)


def test_a_part_without_a_whole_is_no_trace(collector: Collector) -> None:
    with spans.child("part"):
        assert spans.ids() == {}
    with spans.begin("work"):
        pass
    collector.wait_for("work")
    assert not collector.named("part")


def test_a_client_that_keeps_no_trace_makes_us_keep_none(collector: Collector) -> None:
    with spans.begin("unkept", parent=CLIENT[:-1] + "0") as work:
        assert work.kept_in is None
        assert spans.ids()["trace_id"] == CLIENT.split("-")[1]
    with spans.begin("work"), spans.unkept(), spans.child("unkept"):
        assert spans.outgoing()["traceparent"].endswith("-00")
    collector.wait_for("work")
    assert not collector.named("unkept")


def test_the_samplers_of_opentelemetry_decide(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    spans.start("api")
    with spans.begin("dropped", parent=CLIENT) as work:
        assert work.kept_in is None
    with spans.always("cohort"):
        pass
    collector.wait_for("cohort")
    assert not collector.named("dropped")


def test_each_line_of_the_log_carries_the_ids(
    collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    former = structlog.get_config()
    try:
        configure_logs("info", as_json=True)
        with spans.begin("work") as work:
            structlog.get_logger().info("inside")
        structlog.get_logger().info("outside")
    finally:
        structlog.configure(**former)
    inside, outside = map(json.loads, capfd.readouterr().err.splitlines()[-2:])
    assert work.traceparent is not None
    assert work.traceparent.split("-")[1:3] == [inside["trace_id"], inside["span_id"]]
    assert "trace_id" not in outside


def test_a_collector_that_is_away_is_told_once_in_a_while(collector: Collector) -> None:
    class Away(SpanExporter):
        works = False

        def export(self, _spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS if self.works else SpanExportResult.FAILURE

    away = Away()
    sender = Sender(away)
    with structlog.testing.capture_logs() as lines:
        for _ in range(1000):
            sender.export([None, None])  # type: ignore[list-item]
        away.works = True
        for _ in range(1000):
            sender.export([])
    assert [(line["event"], line["lost"]) for line in lines] == [
        ("traces_not_sent", 2),
        ("traces_sent_again", 2000),
    ]


def test_a_slow_collector_costs_spans_of_which_the_log_tells() -> None:
    class Slow(SpanExporter):
        free = threading.Event()
        began = threading.Event()

        def export(self, _spans: object) -> SpanExportResult:
            self.began.set()
            self.free.wait(30)
            return SpanExportResult.SUCCESS

    slow = Slow()
    queue = Queue(slow, size=600)  # more than a batch
    tracer = TracerProvider(shutdown_on_exit=False)
    tracer.add_span_processor(queue)

    def end(spans: int) -> None:
        for _ in range(spans):
            tracer.get_tracer("tunery").start_span("work").end()

    with structlog.testing.capture_logs() as lines:
        end(512)  # a batch
        assert slow.began.wait(30)
        end(610)
        slow.free.set()
        queue.shutdown()
    assert [(line["event"], line["lost"]) for line in lines] == [
        ("traces_not_sent", 10),
        ("traces_sent_again", 10),
    ]
