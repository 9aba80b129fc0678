r"""Train one LoRA with Tunery's engine and write time and memory, for the comparison with the peers.

    python -m bench.training.engine --base DIR --data rows.jsonl --batch-size 8 --mode defaults \
        --out result.json

`--mode int8` holds the base's weights in 8 bits and multiplies in 8 bits, as `quantization = "int8"` does.
After the measured job, a second job takes its first step on the base that is still loaded. This shows how
soon a job trains if the base is loaded. `--override '{"max_step_tokens": 512}'` tries other micro-batches.
"""

from __future__ import annotations

import json
import time

import psutil
import torch

from bench.peers.measuring import (
    LEARNING_RATE,
    PAIR_LEARNING_RATE,
    Result,
    holds_pairs,
    peak_bytes,
    recorded_environment,
    require_schedule,
    steps_of,
    task_from_arguments,
    versions_of,
)
from bench.training.ours import (
    batches_of,
    computed_tokens,
    load_base,
    new_trainee,
    one_round,
    rendered,
    train,
    usual_step_tokens,
)

DPO_PASSES = 2  # the base without adapter, and the pass that learns


def main() -> None:
    task = task_from_arguments(__doc__)
    pairs = holds_pairs(task.data)
    stored = [json.loads(line) for line in task.data.read_text().split("\n") if line.strip()]
    born = psutil.Process().create_time()
    base = load_base(task.base, "int8" if task.mode == "int8" else None)
    base.compute_as_declared()
    if task.mode == "int8" and base.compute != "int8":
        raise SystemExit("this CPU has no fast products in 8 bits")
    max_step_tokens = task.overrides.get("max_step_tokens", usual_step_tokens(base))
    rows = rendered(base, stored, "preference" if pairs else "chat")
    trainee = new_trainee(base, "bench", rows, task.batch_size, task.rank, pairs=pairs)
    began, began_at = time.perf_counter(), time.time()
    rounds, seconds = train(base, [trainee], max_step_tokens)
    train_seconds = time.perf_counter() - began
    if task.adapter is not None:
        trainee.adapter.save(task.adapter)
    seconds_to_adapter = time.time() - born
    peak = peak_bytes()

    began = time.perf_counter()
    rows = rendered(base, stored, "preference" if pairs else "chat")
    second = new_trainee(base, "second", rows, task.batch_size, task.rank, pairs=pairs)
    one_round(base, [second], max_step_tokens)
    warm_seconds = time.perf_counter() - began

    steps = [result for each in rounds for result in each.values()]
    rate = PAIR_LEARNING_RATE if pairs else LEARNING_RATE
    require_schedule([step.learning_rate for step in steps], steps_of(len(rows), task.batch_size), rate)
    passes = DPO_PASSES if pairs else 1
    Result(
        peer="tunery",
        mode=task.mode,
        rows=len(rows),
        batch_size=task.batch_size,
        rank=task.rank,
        real_tokens=sum(len(row.tokens_L) for row in trainee.rows),
        computed_tokens=passes * computed_tokens(base, [batches_of(trainee)], max_step_tokens),
        answer_tokens=sum(row.supervised for row in trainee.rows),
        train_seconds=train_seconds,
        step_seconds=seconds,
        peak_bytes=peak,
        seconds_to_first_step=began_at - born + seconds[0],
        seconds_to_adapter=seconds_to_adapter,
        losses=[step.loss for step in steps],
        warm_seconds_to_first_step=warm_seconds,
        settings={"max_step_tokens": max_step_tokens, "threads": torch.get_num_threads()},
        environment=recorded_environment(),
        versions=versions_of("torch", "transformers", "peft"),
    ).write(task.out)


if __name__ == "__main__":
    main()
