"""Adapters in PEFT and llama.cpp, each on a tiny base model: what the report says of them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, PrefixTuningConfig

from core.errors import JobError
from core.portability.report import Measurement, Prompts, RuntimeReport
from tests.fixtures.models.random_adapters import MakeSource
from worker.tasks.export.source import Source
from worker.tasks.portability.measure import measure
from worker.tasks.portability.prompts import PromptSet
from worker.tasks.portability.runtime_process import Candidate, Failure
from worker.tasks.portability.runtimes import LlamaCpp, MeasuredRuntime, Peft, Question

TARGETS = ["q_proj", "v_proj", "down_proj"]
LLAMA_CPP = LlamaCpp(Path(sys.executable))
INSTALLED: list[MeasuredRuntime] = [Peft(), LLAMA_CPP]
ROWS = [[{"role": "user", "content": f"What is {number} plus {number}?"}] for number in range(3)]


def lora(**options: Any) -> LoraConfig:
    return LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM", **options)


def measured(source: Source, folder: Path, runtimes: Sequence[MeasuredRuntime] = INSTALLED) -> Measurement:
    said: list[float] = []
    found = measure(source, ROWS, runtimes, folder, lambda _, done: said.append(done))
    assert said == sorted(said)
    return found


def of(found: Measurement) -> dict[str, RuntimeReport]:
    return {each.runtime: each for each in found.runtimes}


def replace_llama_cpp(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this program run where llama.cpp would."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "llamacpp_program.py").write_text(program)
    monkeypatch.setattr("worker.tasks.portability.runtime_process.PROGRAMS", programs)


def test_a_lora_answers_alike_in_peft_and_in_both_forms_in_llama_cpp(
    make_source: MakeSource, tmp_path: Path
) -> None:
    found = measured(make_source(lora()), tmp_path)
    assert found.prompts == Prompts(count=20, from_validation_file=3, from_general_list=17, new_tokens=16)
    reports = of(found)
    for runtime, form in (("peft", "as_it_is"), ("llama_cpp", "gguf_adapter")):
        report = reports[runtime]
        assert (report.status, report.measured, report.needs) == ("works", True, form)
        assert report.version
        assert report.figures is not None
        assert (report.figures.prompts, report.figures.template_tokens_equal) == (20, True)
    assert reports["peft"].figures is not None
    assert reports["peft"].figures.greedy_equal == 20
    assert (reports["peft"].figures.max_logprob_difference or 0) < 1e-3
    attempts = reports["llama_cpp"].attempts
    assert [(each.form, each.loads, each.reason) for each in attempts] == [
        ("gguf_adapter", True, None),
        ("gguf", True, None),
    ]
    for each in attempts:  # nothing is rounded
        assert each.figures is not None
        assert (each.figures.greedy_equal, (each.figures.max_logprob_difference or 0) < 1e-3) == (20, True)
    assert (reports["vllm"].status, reports["vllm"].measured) == ("not_measured", False)
    assert (reports["ollama"].status, reports["ollama"].measured) == ("works", False)


@pytest.mark.exhaustive
def test_what_is_no_lora_needs_the_merged_model(make_source: MakeSource, tmp_path: Path) -> None:
    report = of(measured(make_source(lora(use_dora=True)), tmp_path))["llama_cpp"]
    assert (report.status, report.needs) == ("works", "gguf")
    assert "llama-server --model path/to/this/folder/model-f16.gguf" in str(report.start_line)


@pytest.mark.exhaustive
def test_what_cannot_be_exported_is_measured_in_peft_alone(make_source: MakeSource, tmp_path: Path) -> None:
    prefix = PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    reports = of(measured(make_source(prefix, type_="prefix_tuning"), tmp_path))
    assert (reports["peft"].measured, reports["llama_cpp"].status) == (True, "unsupported")
    assert "changes no weight" in reports["llama_cpp"].reason


def test_a_tokenizer_with_another_template_is_found(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(lora())
    template = source.folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>assistant\n", "<|im_start|>assistant"))
    report = of(measured(source, tmp_path, [Peft()]))["peft"]
    assert report.status == "differs"
    assert "renders chats to other tokens" in report.reason
    assert report.figures is not None
    assert report.figures.greedy_equal == 20


def test_an_error_of_peft_is_its_answer(make_source: MakeSource, tmp_path: Path) -> None:
    no_word = PromptSet([[10**6]], None)
    outcome = Peft().answer(Question(make_source(lora()), no_word, []), Candidate(tmp_path, None), tmp_path)
    assert isinstance(outcome.found, Failure)
    assert outcome.found.reason.startswith("IndexError: index out of range")


def test_a_runtime_that_dies_of_the_files_is_reported_with_its_end(
    make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_llama_cpp(
        tmp_path, "import os, signal\nprint('bad')\nos.kill(os.getpid(), signal.SIGSEGV)\n", monkeypatch
    )
    report = of(measured(make_source(lora()), tmp_path, [LLAMA_CPP]))["llama_cpp"]
    assert (report.status, report.needs, report.start_line) == ("fails", None, None)
    assert "by signal 11" in report.reason


@pytest.mark.parametrize("program", ["import os\nos.kill(os.getpid(), 9)\n", "import time\ntime.sleep(60)\n"])
def test_a_runtime_that_the_machine_ended_is_not_measured(
    make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    replace_llama_cpp(tmp_path, program, monkeypatch)
    monkeypatch.setattr("worker.tasks.portability.runtime_process.MOST_SECONDS", 0.5)
    report = of(measured(make_source(lora()), tmp_path, [LLAMA_CPP]))["llama_cpp"]
    assert (report.status, report.measured, report.needs) == ("not_measured", False, "gguf_adapter")
    assert report.start_line
    assert [(each.loads, bool(each.reason)) for each in report.attempts] == [(False, True)] * 2


def test_a_runtime_gets_none_of_our_keys_and_leaves_no_form_on_the_disk(
    make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNERY_SECRET_KEYS", "a-key-to-hide")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    replace_llama_cpp(tmp_path, "import os\nopen('env', 'w').write('\\n'.join(os.environ))\n", monkeypatch)
    measured(make_source(lora()), tmp_path, [LLAMA_CPP])
    names = (tmp_path / "env").read_text().split("\n")
    assert {"PATH", "LC_ALL", "HF_HUB_OFFLINE"} <= set(names)
    assert not any(name.startswith(("TUNERY_", "AWS_")) for name in names)
    assert not (tmp_path / "gguf").exists()
    assert not (tmp_path / "gguf_adapter").exists()


@pytest.mark.exhaustive
def test_files_that_llama_cpp_cannot_read_fail_with_a_reason(
    make_source: MakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_nonsense(*_: Any) -> dict[str, Any]:
        (tmp_path / "gguf" / "model-f32.gguf").write_bytes(b"nonsense")
        return {}

    monkeypatch.setattr("worker.tasks.portability.forms.write_model", write_nonsense)
    report = of(measured(make_source(lora(use_dora=True)), tmp_path))["llama_cpp"]
    assert (report.status, report.attempts[0].loads) == ("fails", False)
    assert report.reason
    assert str(tmp_path) not in report.reason


def test_an_adapter_of_loftq_is_refused_with_the_reason(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source(lora())
    loftq = Source(**{**vars(source), "options": {"init_lora_weights": "loftq"}})
    with pytest.raises(JobError, match="LoftQ") as refused:
        measure(loftq, ROWS, INSTALLED, tmp_path, lambda *_: None)
    assert refused.value.code == "not_measurable"
