"""Compute TRL's policy losses and their gradients on given rollouts. Runs in TRL's own environment.

    .bench-venvs/trl/bin/python -m bench.peers.trl_grpo_losses --folder DIR

`bench.reinforce.losses` writes the folder: a base model, an adapter, and `asked.json` with the rollouts and
GRPOConfig's fields of each case. For each case, the loss of `GRPOTrainer._compute_loss` comes into
`losses.json`, and the gradient of each parameter into `CASE.safetensors`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from bench.command_line import new_parser


def padded(rows: list[list[Any]], side: str = "right") -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_side=side)


def inputs_of(rollouts: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Return the rollouts in the form in which the trainer keeps them: prompts padded left, answers right."""
    prompts = [each["prompt"] for each in rollouts]
    answers = [each["answer"] for each in rollouts]
    learnt = padded([each["learnt"] for each in rollouts]).long()
    return {
        "prompt_ids": padded(prompts, "left"),
        "prompt_mask": padded([[1] * len(prompt) for prompt in prompts], "left"),
        "completion_ids": padded(answers),
        "completion_mask": padded([[1] * len(answer) for answer in answers]),
        "tool_mask": learnt,
        "old_per_token_logps": padded([each["logprobs"] for each in rollouts]),
        "advantages": torch.tensor([each["advantage"] for each in rollouts]),
        "num_items_in_batch": learnt.sum(),
    }


def trainer_for(folder: Path, config: dict[str, Any], rollouts: int) -> GRPOTrainer:
    base = folder / "base"
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    options: dict[str, Any] = {"per_device_train_batch_size": rollouts, "beta": 0.0}
    options |= {"gradient_checkpointing": False}
    options |= {"use_cpu": True, "bf16": False, "report_to": "none", "output_dir": str(folder / "out")}
    return GRPOTrainer(
        model=PeftModel.from_pretrained(plain, folder / "adapter", is_trainable=True),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(**options | config),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * rollouts}),
        processing_class=AutoTokenizer.from_pretrained(base),
    )


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder that bench.reinforce.losses wrote")
    folder: Path = parser.parse_args().folder
    asked = json.loads((folder / "asked.json").read_text())
    losses = {}
    for name, config in asked["cases"].items():
        trainer = trainer_for(folder, config, len(asked["rollouts"]))
        trainer.current_gradient_accumulation_steps = 1
        trainer.model.train()
        loss = trainer._compute_loss(trainer.model, inputs_of(asked["rollouts"]))
        loss.backward()
        losses[name] = loss.item()
        gradients = {
            parameter: value.grad
            for parameter, value in trainer.model.named_parameters()
            if value.grad is not None
        }
        save_file(gradients, folder / f"{name}.safetensors")
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main()
