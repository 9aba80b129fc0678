"""Measure the sampler beside transformers with PEFT, on the same prompts and adapters, in one run.

    python -m bench.serving.serve --data DIR                   # 100 adapters, a few minutes on two idle cores
    python -m bench.serving.serve --adapters 4 --peer none     # quick, without a peer
    python -m bench.serving.serve --vllm .bench-venvs/vllm     # beside vLLM too
    python -m bench.serving.serve --quantization nf4 --peer llama.cpp   # 4 bits, beside llama.cpp in q4_0
    python -m bench.serving.serve --equal 50                   # instead: count answers that equal PEFT's

The prompts are those of DIR/text2sql/*.jsonl (WikiSQL), or generated ones. The base model is the catalog's
SmolLM2-135M-Instruct, in bf16 where the CPU multiplies it. llama.cpp has no adapter but one that is merged,
and weights in f16, q8_0 or q4_0. Adapters are LoRA of rank 16 on all linear layers,
with random values. Answers are greedy and have --new tokens. The result is printed, and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from bench import ROOT
from bench.command_line import add_models, new_parser, positive
from bench.serving import ours
from bench.serving.equality import count_equal
from bench.serving.limits import limits
from bench.serving.peft_peer import Peft
from bench.serving.workload import prompts, with_beginning, write_adapter, write_json
from bench.training.machine import describe
from core.catalog import SMOLLM2
from core.exports.requests import GgufExport
from worker.base_models.model_store import ensure_model
from worker.engine.base.base_model import ResidentBase, choose_device
from worker.engine.sampler.sampler import Limits, Sampler
from worker.tasks.export.gguf_files.model import write_gguf
from worker.tasks.export.source import Source

SIXTEEN = 16
SINGLE = 6  # requests of one stream
PROMPTS = 6  # long ones
GGUF: dict[str | None, Literal["f16", "q8_0", "q4_0"]] = {None: "f16", "int8": "q8_0", "nf4": "q4_0"}


def main() -> None:
    given = arguments(sys.argv[1:])
    torch.set_num_threads(given.threads)
    folder, sha256 = ensure_model(SMOLLM2, given.models)
    with tempfile.TemporaryDirectory() as made:
        if given.equal:
            found = count_equal(folder, sha256, Path(made), given.equal, given.data)
        else:
            entry = SMOLLM2.model_copy(update={"quantization": given.quantization})
            found = measured(given, ResidentBase(entry, folder, sha256, choose_device("auto")), Path(made))
    write_json(given.out, {"machine": asdict(describe()), **found})


def arguments(words: list[str]) -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--data", type=Path, help="folder with text2sql/*.jsonl")
    parser.add_argument("--adapters", type=positive, default=100, help="for the Zipf case (default 100)")
    parser.add_argument("--new", type=positive, default=48, help="tokens of an answer (default 48)")
    parser.add_argument("--quantization", choices=["nf4", "int8"], help="of the base (default none)")
    parser.add_argument("--peer", choices=["peft", "llama.cpp", "none"], default="peft")
    parser.add_argument("--vllm", type=Path, metavar="VENV", help="the environment that has vLLM")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--equal", type=int, default=0, metavar="PROMPTS", help="count equal answers instead")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/serve.json")
    return parser.parse_args(words)


def measured(given: argparse.Namespace, base: ResidentBase, made: Path) -> dict[str, Any]:
    """Run every case, and print each as soon as it is known."""
    folders = [write_adapter(base, made / f"{n}", n) for n in range(max(given.adapters, SIXTEEN))]

    def fresh(drafts: bool = True) -> Sampler:  # each case begins without cached beginnings
        return Sampler(base, Limits(cache_bytes=512 << 20, drafts=drafts))

    loader = fresh()
    adapters = [loader.load_adapter(folder, folder.name) for folder in folders]
    texts = prompts(base.tokenizer, SIXTEEN * 4, given.data)
    sixteen = list(zip(texts[:SIXTEEN], adapters[:SIXTEEN], strict=True))
    ours.run(fresh(), sixteen[:2], 2)  # warms up
    found: dict[str, Any] = {
        "dtype": str(base.dtype),
        "quantization": given.quantization,
        "new_tokens": given.new,
    }

    def note(name: str, result: dict[str, float]) -> None:
        found[name] = result
        print(name, {key: round(value, 2) for key, value in result.items()}, flush=True)

    note("one stream", ours.measure_one(fresh(), texts[16 : 16 + SINGLE], adapters[0], given.new))
    note("one stream on the base", ours.measure_one(fresh(), texts[16 : 16 + SINGLE], None, given.new))
    note("prompts", ours.measure_prompts(fresh(), texts[:PROMPTS]))
    note("16 on 16 adapters", ours.measure_together(fresh(), sixteen, given.new))
    in_turn = [(text, adapters[n % 4]) for n, text in enumerate(texts[:SIXTEEN])]
    note("16 on 4 adapters", ours.measure_together(fresh(), in_turn, given.new))
    note("16 on one", ours.measure_together(fresh(), [(t, adapters[0]) for t in texts[16:32]], given.new))
    note("16 on the base", ours.measure_together(fresh(), [(t, None) for t in texts[16:32]], given.new))
    note("zipf, one adapter", ours.measure_zipf(fresh(), texts, adapters[:1], given.new))
    note("zipf, all adapters", ours.measure_zipf(fresh(), texts, adapters, given.new))
    note("another adapter", ours.measure_swap(fresh(drafts=False), texts[0], adapters, given.new))
    note("from files", ours.measure_cold(fresh(), folders[:8]))
    note("behind a beginning", ours.measure_beginning(fresh(), texts[:8]))
    if given.peer == "peft":
        peft = Peft(base.folder, folders[:SIXTEEN], base.device)
        note("peft, one stream", peft.measure([(t, 0) for t in texts[16:18]], given.new))
        note("peft, in turn", peft.measure([(t, n) for n, t in enumerate(texts[:4])], given.new))
    if given.peer == "llama.cpp":
        note("llama.cpp", llama_cpp_figures(given, base, texts, folders[0], made))
    note("limits", limits(base))
    if given.vllm:
        note("vllm", vllm_figures(given, base, texts, folders[:SIXTEEN], made))
    return found


def vllm_figures(
    given: argparse.Namespace, base: ResidentBase, texts: list[list[int]], folders: list[Path], made: Path
) -> dict[str, float]:
    """Measure vLLM in its own environment, on the same prompts, weights and adapters."""
    prompts_file = made / "prompts.json"
    prompts_file.write_text(json.dumps(texts))
    python = given.vllm / "bin" / "python"
    return figures_of([python, "-m", "bench.serving.vllm_peer", base.folder, prompts_file, *folders], given)


def llama_cpp_figures(
    given: argparse.Namespace, base: ResidentBase, texts: list[list[int]], adapter: Path, made: Path
) -> dict[str, float]:
    """Measure llama.cpp on the base with an adapter merged, in the precision most like the base's."""
    exported = GGUF[given.quantization]
    base.tokenizer.save_pretrained(adapter)  # as with a published adapter
    source = Source("0", base.entry.id, "lora", SMOLLM2, adapter, base.folder)
    write_gguf(source, GgufExport(format="gguf", quantization=exported), made)
    prompts_file = made / "prompts.json"
    long = [with_beginning(text, number) for number, text in enumerate(texts[:PROMPTS])]
    prompts_file.write_text(json.dumps([*texts[: SIXTEEN + SINGLE], *long]))
    program = [sys.executable, "-m", "bench.serving.llamacpp_peer"]
    return figures_of([*program, made / f"model-{exported}.gguf", prompts_file], given)


def figures_of(words: Sequence[object], given: argparse.Namespace) -> dict[str, float]:
    """Run a peer's program, and return what it prints in its last line."""
    options = ["--new", str(given.new), "--threads", str(given.threads)]
    ran = subprocess.run(
        [*map(str, words), *options], check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT
    )
    return dict(json.loads(ran.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
