"""Adapters in a real vLLM: the form that it needs, and the same answers as ours."""

from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from bench.portability.models import MODELS
from core.portability.report import RuntimeReport
from tests.fixtures.models.random_adapters import VOCABULARY, MakeSource, save_base
from tests.fixtures.outside.vllm import vllm_python, wide_llama
from worker.tasks.export.source import Source
from worker.tasks.portability.measure import measure
from worker.tasks.portability.runtimes import Vllm


def vllm_report(source: Source, room: Path) -> RuntimeReport:
    """Measure the adapter in vLLM, and return the report."""
    room.mkdir()
    found = measure(source, [], [Vllm(vllm_python())], room, lambda *_: None)
    (report,) = (each for each in found.runtimes if each.runtime == "vllm")
    return report


@pytest.mark.slow
def test_vllm_answers_alike_with_the_form_that_it_needs(
    make_source: MakeSource, tokenizer: Any, tmp_path: Path
) -> None:
    vllm_python()
    config = wide_llama()
    config.vocab_size = 640
    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], use_dora=True, task_type="CAUSAL_LM")
    source = make_source(lora, base=save_base(config, tokenizer, tmp_path / "base"))
    report = vllm_report(source, tmp_path / "room")
    assert (report.status, report.needs, report.reason.split(" ")[0]) == ("works", "merged", "20")
    assert str(report.version).startswith("0.")


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_vllm_takes_an_adapter_of_a_text_part_as_it_is(
    make_source: MakeSource, tokenizer: Any, tmp_path: Path
) -> None:
    """The folder has no files of a processor of images."""
    vllm_python()
    config = MODELS["mistral-small-3"].configuration(vocab_size=VOCABULARY)
    layers = r".*language_model\.layers.*(q_proj|o_proj|down_proj)"
    lora = LoraConfig(r=4, target_modules=layers, task_type="CAUSAL_LM")
    source = make_source(lora, base=save_base(config, tokenizer, tmp_path / "base"))
    report = vllm_report(source, tmp_path / "room")
    assert (report.status, report.needs, report.reason.split(" ")[0]) == ("works", "as_it_is", "20")
