"""The two ways in which a sampler computes a step."""

import pytest

from worker.engine.sampler.fast.native.step import NativeStep


@pytest.fixture(params=["in C", "plain twin"])
def each_step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the samplers of a test compute in C, and then by PyTorch alone."""
    if request.param == "plain twin":
        monkeypatch.setattr(NativeStep, "for_pool", lambda *_: None)
