"""Measure downloaded adapters with plain transformers and PEFT, in a process of its own.

    python -m bench.composing.answers --request request.json --out result.json

The request: {base, adapters: {name: folder or null}, tasks: {name: [{messages}]}, max_new_tokens}. The result
has for each adapter and each task the mean `loss` of the last messages in nats per token, and `exact`: the
share of rows whose greedy answer is the last message.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.command_line import add_result_file, new_parser
from bench.training.running import say
from cli.demo.compare import answers, mean_loss

BATCH = 32


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--request", type=open, required=True)
    add_result_file(parser)
    given = parser.parse_args()
    given.out.write_text(json.dumps(measure(json.load(given.request))))


@torch.inference_mode()
def measure(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(request["base"], padding_side="left")
    found = {}
    for name, folder in request["adapters"].items():
        model = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32).eval()
        model = PeftModel.from_pretrained(model, folder).eval() if folder else model
        found[name] = {
            task: scores(model, tokenizer, [row["messages"] for row in rows], request["max_new_tokens"])
            for task, rows in request["tasks"].items()
        }
        say(f"{name}: {found[name]}")
    return found


def scores(model: Any, tokenizer: Any, rows: list[Any], longest: int) -> dict[str, float]:
    said: list[str] = []
    for start in range(0, len(rows), BATCH):
        prompts = [row[:-1] for row in rows[start : start + BATCH]]
        said += answers(model, tokenizer, prompts, longest)
    right = [answer == row[-1]["content"].strip() for answer, row in zip(said, rows, strict=True)]
    loss = mean_loss(model, tokenizer, rows)
    return {"loss": round(loss, 4), "exact": round(sum(right) / len(right), 4)}


if __name__ == "__main__":
    main()
