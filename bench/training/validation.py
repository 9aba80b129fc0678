"""Compute the loss of saved adapters on rows held out, in the same way for all trainers.

    python -m bench.training.validation --base DIR --pair ADAPTER rows.jsonl [--pair …] --out losses.json

It uses plain transformers and PEFT in fp32, one row at a time, and no code of a trainer. For chat rows the
loss is the mean cross-entropy over all answer tokens, in nats. For prompts with two answers it is DPO's loss,
the mean over the pairs, with the base alone as the reference model. An answer ends with its end marker. The
template puts a line break after it, which only some trainers learn; the line break does not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import AutoModelForCausalLM

from bench.command_line import add_base, new_parser
from bench.peers.measuring import BETA, Encoded, encode, holds_pairs, read_conversations


@torch.no_grad()
def answer_losses(model: Any, rows: list[Encoded]) -> Tensor:
    """Return the loss of each row's answer in nats, summed over its tokens, [R]."""
    losses = []
    for row in rows:
        logits_LV = model(torch.tensor([row.tokens])).logits[0, row.answer - 1 : row.end - 1]
        targets = torch.tensor(row.tokens[row.answer : row.end])
        losses.append(cross_entropy(logits_LV.double(), targets, reduction="sum"))
    return torch.stack(losses)


def mean_loss(model: Any, rows: list[Encoded]) -> float:
    """Return the mean loss in nats per answer token."""
    return answer_losses(model, rows).sum().item() / sum(row.end - row.answer for row in rows)


def preference_loss(nll_R: Tensor, reference_R: Tensor) -> float:
    """Return DPO's loss. Preferred and other answers alternate in the rows."""
    rewards_P2 = BETA * (reference_R - nll_R).view(-1, 2)
    return -logsigmoid(rewards_P2[:, 0] - rewards_P2[:, 1]).mean().item()


def losses_on(base: Path, model: Any, path: Path) -> tuple[float, Callable[[Any], float]]:
    """Return the loss of the base alone, which is `model`, and a function for the loss of another model."""
    rows = encode(base, read_conversations(path))
    if not holds_pairs(path):
        return mean_loss(model, rows), partial(mean_loss, rows=rows)
    reference_R = answer_losses(model, rows)
    before = preference_loss(reference_R, reference_R)
    return before, lambda adapted: preference_loss(answer_losses(adapted, rows), reference_R)


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument(
        "--pair", type=Path, nargs=2, action="append", required=True, metavar=("ADAPTER", "ROWS")
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write, JSON")
    given = parser.parse_args()
    model: Any = AutoModelForCausalLM.from_pretrained(given.base, dtype=torch.float32)
    files = dict.fromkeys(rows for _, rows in given.pair)
    measured = {rows: losses_on(given.base, model, rows) for rows in files}
    before = {str(rows): loss for rows, (loss, _) in measured.items()}
    losses = []
    for adapter, rows in given.pair:
        adapted = PeftModel.from_pretrained(model, adapter)
        losses.append(measured[rows][1](adapted))
        model = adapted.unload()
    given.out.write_text(json.dumps({"losses": losses, "before": before}, indent=1) + "\n")


if __name__ == "__main__":
    main()
