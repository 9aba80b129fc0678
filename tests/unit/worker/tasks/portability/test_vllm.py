"""Adapters in a real vLLM: the form that it needs, and the same answers as ours."""

from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from tests.fixtures.models.random_adapters import MakeSource, save_base
from tests.fixtures.outside.vllm import vllm_python, wide_llama
from worker.tasks.portability.measure import measure
from worker.tasks.portability.runtimes import Vllm


@pytest.mark.slow
def test_vllm_answers_alike_with_the_form_that_it_needs(
    make_source: MakeSource, tokenizer: Any, tmp_path: Path
) -> None:
    runtime = Vllm(vllm_python())
    config = wide_llama()
    config.vocab_size = 640
    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], use_dora=True, task_type="CAUSAL_LM")
    source = make_source(lora, base=save_base(config, tokenizer, tmp_path / "base"))
    (tmp_path / "room").mkdir()
    found = measure(source, [], [runtime], tmp_path / "room", lambda *_: None)
    (report,) = (each for each in found.runtimes if each.runtime == "vllm")
    assert (report.status, report.needs, report.reason.split(" ")[0]) == ("works", "merged", "20")
    assert str(report.version).startswith("0.")
