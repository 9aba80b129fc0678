"""Count the bytes of a loaded base model in bf16, int8 and nf4, by its parts.

    python -m bench.engine.base_bytes         # writes bench/results/methods/bytes.json
    python -m bench.jobs.methods --only none  # writes the page

The model is loaded as workers load it. The tensors that it holds are counted, and shared memory is counted
once: the weights, and the scales and tables of quantised weights.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import BENCH
from bench.command_line import add_models, new_parser
from bench.jobs.run import surroundings
from bench.jobs.table import EMBEDDING, LINEAR, OTHER
from core.catalog import SMOLLM2
from worker.base_models.model_store import ensure_model
from worker.engine.base.loading import load_model

PRECISIONS = {"bf16": None, "int8": "int8", "nf4": "nf4"}


def bytes_by_part(model: nn.Module) -> dict[str, int]:
    """Return the bytes of each part. Memory that parts share, as with a tied head, counts for the first."""
    seen: set[int] = set()
    found = Counter({EMBEDDING: 0, LINEAR: 0, OTHER: 0})
    for module in model.modules():
        for tensor in tensors_of(module):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                found[part_of(module)] += storage.nbytes()
    return dict(found)


def part_of(module: nn.Module) -> str:
    if isinstance(module, nn.Embedding):
        return EMBEDDING
    return LINEAR if isinstance(module, nn.Linear) else OTHER  # bitsandbytes' layers are Linear too


def tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Yield the module's own tensors: parameters, buffers, and the state that bitsandbytes adds."""
    for own in (*module._parameters.values(), *module._buffers.values()):
        if own is not None:
            yield own
            yield from held_by(own)
            yield from held_by(getattr(own, "quant_state", None))
    yield from held_by(getattr(module, "state", None))


def held_by(state: Any) -> Iterator[Tensor]:
    """Yield the tensors in the attributes of a quantisation state, and of the state in it."""
    for value in vars(state).values() if hasattr(state, "__dict__") else ():
        if isinstance(value, Tensor):
            yield value
        elif type(value) is type(state):
            yield from held_by(value)


def measure(models: Path) -> dict[str, dict[str, int]]:
    """Return the bytes by precision and part."""
    folder, _ = ensure_model(SMOLLM2, models)
    found = {}
    for name, quantization in PRECISIONS.items():
        entry = SMOLLM2.model_copy(update={"quantization": quantization})
        found[name] = bytes_by_part(load_model(entry, folder, torch.device("cpu"), torch.bfloat16))
    return found


def main() -> None:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/methods/bytes.json")
    given = parser.parse_args()
    document = {**surroundings(alone=False), "bytes": measure(given.models)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["bytes"], indent=1))


if __name__ == "__main__":
    main()
