"""The ports of the pages of metrics that `tunery up` chooses, and the file that tells Prometheus."""

import json
import socket
from pathlib import Path

import pytest

from cli.client.home import Home
from cli.up.metrics import Pages
from core.settings import Settings


def test_parts_without_a_port_get_one_that_stays_theirs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    given = Settings(worker_metrics_port=9402)
    with Pages.of(given, ["api", "worker", "serve"]) as pages, Pages.of(given, ["api", "serve"]) as others:
        settings = pages.settings
        assert settings.worker_metrics_port == 9402
        chosen = {settings.api_metrics_port, settings.serve_port}
        assert len(chosen) == 2
        assert not chosen & {others.settings.api_metrics_port, others.settings.serve_port}
        for port in chosen:
            with pytest.raises(OSError, match="in use"), socket.socket() as other:
                other.bind(("", port))
            socket.create_server(("127.0.0.1", port)).close()  # which the part itself does
        assert pages.urls["worker"] == "http://127.0.0.1:9402/metrics"
        pages.write_targets(home)
    told = json.loads(home.metrics_targets.read_text())
    assert [each["labels"]["program"] for each in told] == ["api", "worker", "server"]
    assert told[0]["targets"] == [f"127.0.0.1:{settings.api_metrics_port}"]


@pytest.mark.parametrize(
    ("listening", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("fd00::7", "[fd00::7]"), ("10.0.0.7", "10.0.0.7")],  # noqa: S104
)
def test_prometheus_asks_an_address_that_answers(listening: str, asked: str) -> None:
    given = Settings(metrics_host=listening, serve_host=listening)
    with Pages.of(given, ["api", "serve"]) as pages:
        ports = pages.settings.api_metrics_port, pages.settings.serve_port
        assert list(pages.addresses.values()) == [f"{asked}:{port}" for port in ports]


def test_a_trainer_that_answers_chats_takes_any_port() -> None:
    with Pages.of(Settings(serve_share=0.5), ["api", "worker"]) as pages:
        assert pages.settings.serve_port == 0
        assert list(pages.urls) == ["api", "worker"]
