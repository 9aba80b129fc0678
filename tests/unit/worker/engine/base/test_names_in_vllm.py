"""vLLM looks for the layers of an adapter of a whole model where the model's text part is."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core.jobs.spec import LoraAdapter
from core.storage.file_names import WEIGHTS_NAME
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.sampling import saved_adapter
from tests.fixtures.engine.wrappers import FAST_WRAPPERS, PLAIN_WRAPPERS, PORTABLE_WRAPPERS
from tests.fixtures.models.tiny import save_model
from tests.fixtures.outside.vllm import vllm_python
from worker.engine.base.base_model import ResidentBase

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(600)]

IN_VLLM = """
import json, sys
from vllm import ModelRegistry
from vllm.lora.utils import parse_fine_tuned_lora_name
found = {}
for architecture, names in json.load(open(sys.argv[1])).items():
    mapper = getattr(ModelRegistry.models[architecture].load_model_cls(), "hf_to_vllm_mapper", None)
    found[architecture] = [parse_fine_tuned_lora_name(name, mapper)[0] for name in names]
json.dump(found, open(sys.argv[2], "w"))
"""


def test_vllm_finds_the_layers_of_a_text_part(tmp_path: Path) -> None:
    python = vllm_python()
    names: dict[str, list[str]] = {}
    for number, make in enumerate((FAST_WRAPPERS | PORTABLE_WRAPPERS | PLAIN_WRAPPERS).values()):
        folder = tmp_path / str(number)
        save_model(make(), folder)
        (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
        base = ResidentBase(TINY, folder, "0" * 64, torch.device("cpu"))
        adapter = saved_adapter(base, LoraAdapter(r=2), folder / "adapter")
        with safe_open(adapter / WEIGHTS_NAME, framework="pt") as file:
            names.setdefault(architecture, []).extend(file.keys())
    asked, found = tmp_path / "asked.json", tmp_path / "found.json"
    asked.write_text(json.dumps(names))
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""}
    subprocess.run([python, "-c", IN_VLLM, asked, found], env=environment, check=True)
    for architecture, modules in json.loads(found.read_text()).items():
        assert modules
        for module, name in zip(modules, names[architecture], strict=True):
            assert module.startswith("language_model.model."), (architecture, name, module)
