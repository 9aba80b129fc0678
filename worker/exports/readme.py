"""Writes the README.md of an export: what it is, and how each runtime starts with it."""

from collections.abc import Mapping
from typing import Any

from core.exports.requests import ExportRequest
from worker.exports.source import Source
from worker.save.model_card import VLLM_RANKS

HEAD = """# {model}

The adapter `{adapter_id}` of [{repository}](https://huggingface.co/{repository}) in the format `{format}`,
made by Tunery. `manifest.json` lists the files with their SHA-256, and what was measured.

"""

LORA = """With PEFT:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{repository}", revision="{revision}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

With vLLM:

```shell
vllm serve {repository} --revision {revision} --enable-lora --max-lora-rank {vllm_rank} \\
  --lora-modules adapter=path/to/this/folder
```

With SGLang:

```shell
python -m sglang.launch_server --model-path {repository} --lora-paths adapter=path/to/this/folder
```
"""

MLX = """With mlx-lm:

```shell
mlx_lm.generate --model {repository} --adapter-path path/to/this/folder --prompt "Hello"
```
"""

GGUF_ADAPTER = """With llama.cpp, beside a GGUF file of the base model:

```shell
llama-server --model BASE.gguf --lora path/to/this/folder/adapter.gguf
```
"""

MERGED = """With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

With vLLM or SGLang:

```shell
vllm serve path/to/this/folder
python -m sglang.launch_server --model-path path/to/this/folder
```
"""

GGUF = """With llama.cpp:

```shell
llama-server --model path/to/this/folder/model-{quantization}.gguf --jinja
```

With Ollama, in this folder:

```shell
ollama create my-model --file Modelfile
ollama run my-model
```
"""

BODIES = {"lora": LORA, "mlx": MLX, "gguf_adapter": GGUF_ADAPTER, "merged": MERGED, "gguf": GGUF}


def readme(source: Source, asked: ExportRequest, report: Mapping[str, Any]) -> str:
    """Return the text."""
    rank = report.get("rank", 0)
    facts = {
        "model": source.model,
        "adapter_id": source.adapter_id,
        "repository": source.entry.repository,
        "revision": source.entry.revision,
        "vllm_rank": next((most for most in VLLM_RANKS if most >= rank), rank),
        **asked.model_dump(),
    }
    return (HEAD + BODIES[asked.format]).format(**facts)
