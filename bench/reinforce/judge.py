"""Answer prompts with the base and with saved adapters, the same way for all trainers, and grade the answers.

    python -m bench.reinforce.judge --base DIR --asked asked.json --adapter DIR --out rewards.json

It uses plain transformers and PEFT, and no code of a trainer. Each prompt is answered once, sampled with
temperature 1. `asked.json` has a `grader`, `rows` and `max_completion_tokens`. The result has the rewards of
the base, and those of each adapter, in the order of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from bench.command_line import add_base, new_parser
from bench.peers.measuring import SEED
from bench.peers.rewards import Row, reward_function
from bench.peers.transformers_trainer import faster_type

AT_ONCE = 50  # prompts that are answered side by side


def sampled(model: Any, tokenizer: Any, rows: list[Row], max_tokens: int) -> list[str]:
    """Return an answer to each row. The same model gives the same answers each time."""
    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=max_tokens,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(SEED)
    answers: list[str] = []
    for first in range(0, len(rows), AT_ONCE):
        prompts = [row["messages"] for row in rows[first : first + AT_ONCE]]
        inputs = tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            tokens = model.generate(**inputs, generation_config=config)
        answers += tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def graded(answers: list[str], rows: list[Row], reward: Callable[[str, Row], float]) -> list[float]:
    return [reward(answer, row) for answer, row in zip(answers, rows, strict=True)]


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument("--asked", type=Path, required=True, help="the grader and the rows, JSON")
    parser.add_argument("--adapter", type=Path, action="append", default=[], help="an adapter's folder")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, JSON")
    given = parser.parse_args()
    asked = json.loads(given.asked.read_text())
    rows, reward = asked["rows"], reward_function(asked["grader"])
    tokenizer = AutoTokenizer.from_pretrained(given.base, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(given.base, dtype=getattr(torch, faster_type()))

    def rewards(of: Any) -> list[float]:
        return graded(sampled(of.eval(), tokenizer, rows, asked["max_completion_tokens"]), rows, reward)

    found: dict[str, Any] = {"base": rewards(model), "adapters": []}
    for folder in given.adapter:
        adapted = PeftModel.from_pretrained(model, folder)
        found["adapters"].append(rewards(adapted))
        model = adapted.unload()
    given.out.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
