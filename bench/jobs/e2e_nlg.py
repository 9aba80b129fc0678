"""Repeat the E2E NLG part of the LoRA paper on a small model: full fine-tuning, LoRA and others, by BLEU.

    python -m bench.jobs.e2e_nlg --data DIR                          # DIR/e2e_nlg/{valid,test}.txt
    python -m bench.jobs.e2e_nlg --data DIR --only lora,ia3 --rows 400 --meanings 100
    python -m bench.jobs.e2e_nlg --only none                         # write the table again

It follows table 3 of Hu et al. 2021 (arXiv:2106.09685). Each job trains over the API of a service of its own.
Then a new process writes one sentence for each chosen meaning of the test set. BLEU compares it with all
sentences that the test set has for this meaning. Each run is a file in bench/results/e2e_nlg.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from sacrebleu.metrics import BLEU

from bench.command_line import positive
from bench.jobs.cases import BASE_ALONE, Case
from bench.jobs.run import (
    Result,
    Task,
    arguments,
    describe_runs,
    describe_training,
    failures,
    read_results,
    run_all,
)
from bench.pages import marked
from bench.pages.tables import failed_row, markdown, shown
from bench.training.workloads import SEED, Row, chat

Meanings = Mapping[str, Sequence[str]]
"""The sentences of each meaning. A meaning is a line of facts, such as "name : Blue Door | food : French"."""

SCRIPT = "bench/jobs/e2e_nlg.py"
PAPERS_LORA = {"type": "lora", "r": 4, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
CASES = {
    case.name: case
    for case in (
        BASE_ALONE,
        Case("full", "Full fine-tuning", {"type": "full"}),
        Case("full-1e-4", "Full fine-tuning, five times as fast", {"type": "full"}, learning_rate=1e-4),
        Case("lora", "LoRA, r = 4 on q and v", PAPERS_LORA),
        Case("lora-2e-3", "LoRA, the same, ten times as fast", PAPERS_LORA, learning_rate=2e-3),
        Case("dora", "DoRA, r = 4 on q and v", {**PAPERS_LORA, "use_dora": True}),
        Case("prefix_tuning", "Prefix tuning, 20 virtual tokens", {"type": "prefix_tuning"}),
        Case("ia3", "(IA)³", {"type": "ia3"}),
        Case("adalora", "AdaLoRA", {"type": "adalora"}),
    )
}
TEST = "e2e_nlg/test.txt"
TRAINING = "e2e_nlg/valid.txt"  # the only other file of the data; it has no meaning of the test set
MAX_NEW_TOKENS = 80
HEADINGS = ("method", "learning rate", "trained parameters", "last loss", "BLEU")


def main() -> None:
    parser = arguments(__doc__, list(CASES), "e2e_nlg")
    parser.add_argument("--rows", type=positive, default=1000, help="rows to train on (default 1000)")
    parser.add_argument(
        "--meanings",
        type=positive,
        default=200,
        help="meanings to write a sentence for (default 200, of 630)",
    )
    parser.add_argument("--beams", type=positive, default=1, help="beams of the search (default 1, greedy)")
    given = parser.parse_args()
    if given.only:
        if given.data is None:
            parser.error("--data is needed, unless --only is none")
        test = sample_meanings(read_meanings(given.data / TEST), given.meanings)
        task = Task(
            source=TRAINING,
            training=training_rows(read_meanings(given.data / TRAINING), given.rows),
            validation=[],
            prompts=[chat(meaning, "") for meaning in test],
            epochs=given.epochs,
            batch_size=given.batch_size,
            max_new_tokens=MAX_NEW_TOKENS,
            beams=given.beams,
        )
        run_all([CASES[name] for name in given.only], task, given, partial(bleu, list(test.values())))
    if found := read_results(given.out, CASES):
        marked.put(given.page, SCRIPT, text(found))


def read_meanings(path: Path) -> dict[str, list[str]]:
    """Return the sentences of each meaning, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        meaning, _, sentence = line.partition("||")
        found.setdefault(meaning.strip(), []).append(sentence.strip())
    return found


def training_rows(meanings: Meanings, n: int) -> list[Row]:
    """Draw `n` rows, the same for every method.

    They come from the whole file, because the sentences of one meaning follow each other there.
    """
    pairs = [(meaning, sentence) for meaning, said in meanings.items() for sentence in said]
    return [chat(*pair) for pair in random.Random(SEED).sample(pairs, n)]


def sample_meanings(meanings: Meanings, n: int) -> dict[str, Sequence[str]]:
    """Draw `n` meanings, the same for every method, or return all if there are at most `n`."""
    chosen = random.Random(SEED).sample(list(meanings), min(n, len(meanings)))
    return {meaning: meanings[meaning] for meaning in chosen}


def bleu(references: Sequence[Sequence[str]], answers: Sequence[str]) -> Result:
    """Score all answers together. Each answer has its own references, and any number of them."""
    metric = BLEU()
    streams = [
        list(stream) for stream in zip_longest(*references)
    ]  # None fills the place of a missing reference
    score = metric.corpus_score(list(answers), streams)
    return {"bleu": round(score.score, 2), "signature": str(metric.get_signature())}


def text(results: Sequence[Result]) -> str:
    sizes = {
        f"{describe_training(each)}; {each['prompts']} meanings of the test set, "
        + ("greedy" if each["beams"] == 1 else f"{each['beams']} beams")
        for each in results
    }
    signatures = sorted({each["signature"] for each in results if "signature" in each})
    return "\n".join(
        part
        for part in (
            f"{results[0]['base_model']}; {' or '.join(sorted(sizes))}. {describe_runs(results)}\n",
            markdown(HEADINGS, [cells(result) for result in results]),
            failures(results),
            f"BLEU is sacrebleu's: `{', '.join(signatures)}`.\n",
        )
        if part
    )


def cells(result: Result) -> tuple[str, ...]:
    if "failure" in result:
        return failed_row(result["title"], len(HEADINGS))
    losses = result.get("losses")
    return (
        result["title"],
        shown(result.get("learning_rate"), "g"),
        shown(result["trained_parameters"] or None, ","),
        shown(sum(losses[-10:]) / len(losses[-10:]) if losses else None, ".3f"),
        shown(result["bleu"], ".1f"),
    )


if __name__ == "__main__":
    main()
