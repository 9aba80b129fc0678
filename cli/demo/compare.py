"""Compare a base model with and without a downloaded adapter, with plain transformers and PEFT.

    python compare.py REQUEST.json RESULT.json

REQUEST: {base, adapter, dtype, rows: [{messages}], max_new_tokens}. RESULT: for "before" and "after", the
answers to each row's messages without the last one, and the mean loss of the last messages in nats per token.
`dtype` must be the type in which the job computed, since bf16 and fp32 differ by some per cent. The script
imports no module of Tunery, so anybody who downloads an adapter can run it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(request["adapter"], padding_side="left")
    base = AutoModelForCausalLM.from_pretrained(request["base"], dtype=request["dtype"]).eval()
    rows = [row["messages"] for row in request["rows"]]
    result = {"before": measure(base, tokenizer, rows, request["max_new_tokens"])}
    adapted = PeftModel.from_pretrained(base, request["adapter"]).eval()
    result["after"] = measure(adapted, tokenizer, rows, request["max_new_tokens"])
    Path(sys.argv[2]).write_text(json.dumps(result), "utf-8")


@torch.inference_mode()
def measure(
    model: Any, tokenizer: Any, rows: list[list[dict[str, str]]], max_new_tokens: int
) -> dict[str, Any]:
    return {
        "answers": answers(model, tokenizer, [row[:-1] for row in rows], max_new_tokens),
        "loss": mean_loss(model, tokenizer, rows),
    }


def answers(model: Any, tokenizer: Any, prompts: list[Any], max_new_tokens: int, beams: int = 1) -> list[str]:
    """Answer all prompts as one batch: greedily, or by a search with several beams."""
    inputs = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    )
    generated = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=beams)
    return [
        text.strip()
        for text in tokenizer.batch_decode(
            generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
    ]


def mean_loss(model: Any, tokenizer: Any, rows: list[list[dict[str, str]]]) -> float:
    """Return the mean loss over all tokens of the last messages, each with the token that ends it."""
    losses = []
    for row in rows:
        prompt = tokenizer.apply_chat_template(row[:-1], tokenize=False, add_generation_prompt=True)
        text = tokenizer.apply_chat_template(row, tokenize=False).rstrip()
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        logits = model(input_ids=tokens).logits[
            0, -tokens.shape[1] :
        ]  # skips the logits of virtual tokens, if any
        losses.append(F.cross_entropy(logits[start - 1 : -1].float(), tokens[0, start:], reduction="none"))
    return float(torch.cat(losses).mean())


if __name__ == "__main__":
    main()
