"""Measure downloaded adapters with plain transformers and PEFT, in a process of its own.

    python -m bench.composing.answers --request request.json --out result.json

The request: {base, adapters: {name: folder or null}, tasks: {name: [{messages}]}}. The result has for each
adapter and each task the mean `loss` of the last messages in nats per token, each with the token that ends
it, and `exact`: the share of rows whose greedy answer is the last message. One pass over the row shows that:
the greedy answer is the message if each of its tokens is the most probable one after those before it.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.command_line import add_result_file, new_parser
from bench.training.running import say

Messages = list[dict[str, str]]


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--request", type=open, required=True)
    add_result_file(parser)
    given = parser.parse_args()
    given.out.write_text(json.dumps(measure(json.load(given.request))))


@torch.inference_mode()
def measure(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(request["base"])
    found = {}
    for name, folder in request["adapters"].items():
        model = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32).eval()
        model = PeftModel.from_pretrained(model, folder).eval() if folder else model
        found[name] = {
            task: scores(model, tokenizer, [row["messages"] for row in rows])
            for task, rows in request["tasks"].items()
        }
        say(f"{name}: {found[name]}")
    return found


def scores(model: Any, tokenizer: Any, rows: list[Messages]) -> dict[str, float]:
    answered = [answer(model, tokenizer, row) for row in rows]
    loss = float(torch.cat([loss_T for loss_T, _ in answered]).mean())
    return {
        "loss": round(loss, 4),
        "exact": round(sum(exact for _, exact in answered) / len(answered), 4),
    }


def answer(model: Any, tokenizer: Any, row: Messages) -> tuple[torch.Tensor, bool]:
    """Return the loss of each token of the last message, and whether all of them are the most probable."""
    prompt = tokenizer.apply_chat_template(row[:-1], tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template(row, tokenize=False).rstrip()
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    wanted_T = tokens[0, start:]
    logits_TV = model(input_ids=tokens, logits_to_keep=len(wanted_T) + 1).logits[0, :-1].float()
    exact = bool((logits_TV.argmax(-1) == wanted_T).all())
    return F.cross_entropy(logits_TV, wanted_T, reduction="none"), exact


if __name__ == "__main__":
    main()
