"""The code of a model card runs as it stands, up to an answer."""

import contextlib
import io
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from core.methods.low_rank import LoraAdapter
from core.methods.whole import FullTuning
from core.portability.rules import reports_by_rule
from core.portability.start_lines import FOLDER
from tests.fixtures.models.random_adapters import VOCABULARY, MakeSource, save_base
from tests.fixtures.outside.vllm import running_command, vllm_python, wide_llama
from tests.fixtures.processes.ports import free_port
from worker.adapter_files.loading_code import loading_code


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def card_of(
    repository: str, options: LoraAdapter | FullTuning = LoraAdapter(r=4), *, generates: bool = True
) -> str:
    return loading_code(reports_by_rule(options.model_dump(), repository, "main"), generates=generates)


def test_the_code_for_peft_answers(make_source: MakeSource) -> None:
    source = make_source(LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    (code,) = blocks(card_of(str(source.base_folder)), "python")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace(FOLDER, str(source.folder)), {})  # noqa: S102 (a new process takes seconds)
    assert said.getvalue().strip(), "no answer"


def test_the_code_for_vllm_asks_the_adapter_that_it_serves() -> None:
    (code,) = blocks(card_of("example/tiny"), "shell")
    subprocess.run(["bash", "-n"], input=code, text=True, check=True)
    serve, _, ask = code.partition("# In another shell:")
    modules = shlex.split(serve)[shlex.split(serve).index("--lora-modules") + 1]
    words = shlex.split(ask)
    assert json.loads(words[words.index("-d") + 1])["model"] == modules.partition("=")[0]


@pytest.mark.slow
@pytest.mark.parametrize("options", [LoraAdapter(r=4), FullTuning()], ids=["lora", "full"])
def test_the_code_for_vllm_answers(
    options: LoraAdapter | FullTuning, tokenizer: Any, make_source: MakeSource, tmp_path: Path
) -> None:
    vllm_python()
    config = wide_llama()
    config.vocab_size = VOCABULARY
    base = save_base(config, tokenizer, tmp_path / "base")
    folder = base
    if isinstance(options, LoraAdapter):
        folder = make_source(LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"), base).folder
    (code,) = blocks(card_of(str(base), options), "shell")
    port = free_port()
    serve, _, ask = code.replace(FOLDER, str(folder)).partition("# In another shell:")
    with running_command(f"{serve.strip()} --port {port}", port, tmp_path / "vllm.log"):
        asked = ["bash", "-c", ask.replace(":8000/", f":{port}/")]
        reply = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert reply["model"] == ("adapter" if isinstance(options, LoraAdapter) else str(folder))
    assert reply["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("generates", [True, False])
def test_no_code_generates_where_peft_loses_virtual_tokens(generates: bool) -> None:
    (code,) = blocks(card_of("example/tiny", generates=generates), "python")
    assert ("generate(" in code) == generates
