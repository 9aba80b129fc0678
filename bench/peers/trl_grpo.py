"""Learn from rewards with TRL's GRPOTrainer, and write curve, time and memory. Runs in TRL's own environment.

    .bench-venvs/trl/bin/python -m bench.peers.trl_grpo --base DIR --setup setup.json --adapter DIR \
        --out result.json [--start DIR]

The options are those of `tuned` in `bench.peers.trl_sft`: the type in which this machine multiplies faster,
and no recomputation. A step's gradient is accumulated over the answers to one prompt after the other, so that
little is padded. The loss is Dr. GRPO's. Each rollout makes one update, so the ratio is 1, and the loss is
the policy gradient of Tunery's `importance_sampling`. With `--start`, it continues from a saved adapter.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from bench.command_line import add_base, add_result_file, new_parser
from bench.peers.measuring import MAX_GRAD_NORM, peak_bytes, recorded_environment, versions_of
from bench.peers.rewards import LearningResult, Setup, reward_function
from bench.peers.transformers_trainer import faster_type, lora_config

HELD_OUT_AT_ONCE = 16  # prompts that a validation answers side by side


class StepTimes(TrainerCallback):
    """Records the seconds of each step. Validations lie between the steps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def options_of(setup: Setup, folder: str) -> dict[str, Any]:
    """Return GRPOConfig's fields."""
    dtype = faster_type()
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": dtype == "bfloat16",
        "model_init_kwargs": {"dtype": dtype},
        "gradient_checkpointing": False,
        "per_device_train_batch_size": setup.num_generations,
        "gradient_accumulation_steps": setup.batch_size,
        "num_generations": setup.num_generations,
        "max_completion_length": setup.max_completion_tokens,
        "temperature": 1.0,
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "mask_truncated_completions": True,
        "beta": 0.0,
        "num_train_epochs": 1,
        "shuffle_dataset": False,
        "learning_rate": setup.learning_rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": MAX_GRAD_NORM,
        "per_device_eval_batch_size": HELD_OUT_AT_ONCE,
        "num_generations_eval": 1,
        "eval_strategy": "steps",
        "eval_steps": setup.eval_interval,
        "eval_on_start": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": setup.seed,
    }


def as_dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Return rows in TRL's conversational form. The reward function gets the whole row."""
    return Dataset.from_list([{"prompt": row["messages"], "row": row} for row in rows])


def model_of(base: Path, setup: Setup, start: Path | None) -> dict[str, Any]:
    """Return what GRPOTrainer gets as its model: the base with a new adapter, or with the saved one."""
    if start is None:
        return {"model": str(base), "peft_config": lora_config(setup.rank)}
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype=faster_type())
    return {"model": PeftModel.from_pretrained(loaded, start, is_trainable=True)}


def trainer_for(base: Path, setup: Setup, folder: str, start: Path | None) -> GRPOTrainer:
    reward = reward_function(setup.grader)

    def rewards(completions: list[Any], row: list[dict[str, Any]], **_: Any) -> list[float]:
        return [reward(answer[0]["content"], of) for answer, of in zip(completions, row, strict=True)]

    return GRPOTrainer(
        **model_of(base, setup, start),
        reward_funcs=rewards,
        args=GRPOConfig(**options_of(setup, folder)),
        train_dataset=as_dataset(setup.training),
        eval_dataset=as_dataset(setup.validation),
        processing_class=AutoTokenizer.from_pretrained(base),
    )


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument("--setup", type=Path, required=True, help="prompts, grader and settings, JSON")
    parser.add_argument("--adapter", type=Path, required=True, help="folder to save the adapter in")
    parser.add_argument("--start", type=Path, help="folder of the adapter to continue from")
    add_result_file(parser)
    given = parser.parse_args()
    setup = Setup.read(given.setup)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_for(given.base, setup, folder, given.start)
        times = StepTimes()
        trainer.add_callback(times)
        trainer.train()
    trainer.model.save_pretrained(given.adapter)
    if len(times.seconds) != setup.steps:
        raise SystemExit(f"TRL made {len(times.seconds)} steps, but the rows are for {setup.steps}")
    logged = trainer.state.log_history
    LearningResult(
        step_seconds=times.seconds,
        step_rewards=[entry["reward"] for entry in logged if "reward" in entry],
        validations=[(entry["step"], entry["eval_reward"]) for entry in logged if "eval_reward" in entry],
        seconds_to_adapter=time.time() - psutil.Process().create_time(),
        peak_bytes=peak_bytes(),
        environment=recorded_environment(),
        versions=versions_of("trl", "transformers", "peft", "torch", "accelerate"),
    ).write(given.out)


if __name__ == "__main__":
    main()
