r"""Time a few rounds of Tunery's engine, with a given number of jobs and a given length of the rows.

    python -m bench.training.rounds --base DIR --jobs 4 --batch-size 4 --row-tokens 60 --rounds 5 \
        --out result.json

In a round, every job takes one step. The second half of each row is learnt. The first round is not counted,
because the allocator and the caches fill in it.
"""

from __future__ import annotations

import json
import random
from statistics import median

import numpy as np

from bench.command_line import add_base, add_result_file, new_parser
from bench.peers.measuring import RANK, peak_rss_bytes, recorded_environment, versions_of
from bench.training.ours import batches_of, computed_tokens, load_base, new_trainee, train, usual_step_tokens
from bench.training.workloads import SEED, word_problems
from worker.engine.base.base_model import ResidentBase
from worker.rows.row import Row


def rows_of(base: ResidentBase, number: int, tokens: int, chance: random.Random) -> list[Row]:
    """Return rows of exactly `tokens` tokens of text. No two of them begin alike."""
    problems = word_problems(chance)
    learnt_L = np.arange(tokens) >= tokens // 2
    rows = []
    for line in range(1, number + 1):
        text = f"{chance.random()}"
        while len(ids := base.tokenizer(text)["input_ids"]) < tokens:
            text += " " + " ".join(turn["content"] for turn in next(problems)["messages"])
        rows.append(Row(line, np.asarray(ids[:tokens], dtype=np.int32), learnt_L))
    return rows


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument("--jobs", type=int, required=True, help="jobs in the cohort, >= 1")
    parser.add_argument("--batch-size", type=int, required=True, help="rows of one job per step")
    parser.add_argument("--row-tokens", type=int, required=True, help="length of every row, >= 2")
    parser.add_argument("--rounds", type=int, required=True, help="counted rounds, >= 1")
    add_result_file(parser)
    given = parser.parse_args()
    base = load_base(given.base)
    chance = random.Random(SEED)
    steps = given.rounds + 1
    trainees = []
    for number in range(given.jobs):
        rows = rows_of(base, steps * given.batch_size, given.row_tokens, chance)
        trainees.append(new_trainee(base, f"job{number}", rows, given.batch_size, RANK))
    _, seconds = train(base, trainees)
    peak = peak_rss_bytes()
    tokens = given.jobs * given.batch_size * given.row_tokens
    computed = computed_tokens(base, [batches_of(trainee) for trainee in trainees]) / steps
    middle = median(seconds[1:])
    document = {
        "jobs": given.jobs,
        "batch_size": given.batch_size,
        "row_tokens": given.row_tokens,
        "tokens_per_round": tokens,
        "tokens_per_second": tokens / middle,
        "computed_tokens_per_second": computed / middle,
        "tokens_per_second_per_job": tokens / middle / given.jobs,
        "seconds_per_round": middle,
        "round_seconds": seconds,
        "peak_rss_bytes": peak,
        "settings": {"max_step_tokens": usual_step_tokens(base), "rank": RANK},
        "environment": recorded_environment(),
        "versions": versions_of("torch", "transformers", "peft"),
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
