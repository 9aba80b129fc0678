"""Train one LoRA with Unsloth and TRL's SFTTrainer, and write time and memory. Runs in Unsloth's environment.

    .bench-venvs/unsloth/bin/python -m bench.peers.unsloth_sft --base DIR --data rows.jsonl \
        --batch-size 8 --mode defaults --out result.json

`defaults` is the script that Unsloth's documentation leads to, in 16 bits: its own recomputation, and rows
padded to the longest of their batch. Without a GPU, Unsloth trains by its path for CPUs.
"""

from __future__ import annotations

import tempfile

from unsloth import FastLanguageModel  # isort: skip  # before the libraries that it changes
from trl import SFTConfig, SFTTrainer

from bench.peers.measuring import SEED, TARGET_MODULES, count_tokens, read_rows, task_from_arguments
from bench.peers.transformers_trainer import common_options, measure, write_result
from bench.peers.trl_sft import as_prompt_and_completion, require_same_tokens

LONGEST_ROW = 2048  # tokens


def main() -> None:
    task = task_from_arguments(__doc__)
    rows = read_rows(task.data)
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(task.base), max_seq_length=LONGEST_ROW, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model, r=task.rank, lora_alpha=2 * task.rank, target_modules=TARGET_MODULES, random_state=SEED
    )
    settings = {"per_device_train_batch_size": task.batch_size} | task.overrides
    with tempfile.TemporaryDirectory() as folder:
        options = common_options(task, len(rows), folder) | {"max_length": LONGEST_ROW}
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**options | settings),
            train_dataset=as_prompt_and_completion(rows),
            processing_class=tokenizer,
        )
        measured = measure(trainer, task)
    tokens = count_tokens(task.base, rows)
    require_same_tokens(trainer.train_dataset, tokens)
    write_result(trainer, task, tokens, tokens.answers, "unsloth", settings, measured)


if __name__ == "__main__":
    main()
