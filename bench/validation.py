"""Loss of saved adapters on rows that nobody trained on, the same way whoever trained them.

    python bench/validation.py --base DIR --pair ADAPTER rows.jsonl [--pair …] --out losses.json

Plain transformers and PEFT in fp32, one row at a time, without any code of a trainer's: mean cross-entropy
over all answer tokens of a pair's rows, in nats. An answer ends with its end marker; the line break that
the template puts behind it, which some trainers learn and others do not, does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from measuring import Encoded, encode, read_rows


@torch.no_grad()
def mean_loss(model: Any, rows: list[Encoded]) -> float:
    """Nats per answer token."""
    total = 0.0
    for row in rows:
        logits_LV = model(torch.tensor([row.tokens])).logits[0, row.answer - 1 : row.end - 1]
        targets = torch.tensor(row.tokens[row.answer : row.end])
        total += cross_entropy(logits_LV.double(), targets, reduction="sum").item()
    return total / sum(row.end - row.answer for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base: safetensors and tokenizer")
    parser.add_argument(
        "--pair", type=Path, nargs=2, action="append", required=True, metavar=("ADAPTER", "ROWS")
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write, JSON")
    given = parser.parse_args()
    model: Any = AutoModelForCausalLM.from_pretrained(given.base, dtype=torch.float32)
    files = {rows: encode(given.base, read_rows(rows)) for _, rows in given.pair}
    before = {str(rows): mean_loss(model, encoded) for rows, encoded in files.items()}
    losses = []
    for adapter, rows in given.pair:
        adapted = PeftModel.from_pretrained(model, adapter)
        losses.append(mean_loss(adapted, files[rows]))
        model = adapted.unload()
    given.out.write_text(json.dumps({"losses": losses, "before": before}, indent=1) + "\n")


if __name__ == "__main__":
    main()
