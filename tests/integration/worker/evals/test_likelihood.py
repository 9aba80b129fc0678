"""Loss and token accuracy are those of transformers and PEFT on the rows as training renders them."""

import json
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import JobError
from core.serving.served_model import StoredAdapter
from core.storage.artifacts import fetch_folder
from tests.fixtures.evals import LOSS, EvalRuns, chat_row, inline
from tests.fixtures.serving import ServerProcess, Serving
from worker.data.render import Rendering
from worker.rows import Row

ACCURACY = {"type": "token_accuracy"}
TURNS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "not learnt", "weight": 0},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "learnt"},
    ]
}
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "Three?"}]},
    "preferred_output": [{"role": "assistant", "content": "good"}],
    "non_preferred_output": [{"role": "assistant", "content": "bad"}],
}
LABELLED = {
    "prompt": [{"role": "user", "content": "Four?"}],
    "completion": [{"role": "assistant", "content": "four"}],
    "label": False,
}
LONG = chat_row("five", "a" * 600)  # more than the model's 512 tokens


def rendered(serving: Serving, rows: list[dict[str, Any]], kind: Any, max_length: int) -> list[Row]:
    tokenizer = AutoTokenizer.from_pretrained(serving.folder / "model")
    return list(Rendering(tokenizer, max_length, "file", kind).render(enumerate(rows, 1)))


def by_transformers(
    serving: Serving, rows: list[Row], adapter: StoredAdapter | None
) -> list[tuple[float, float]]:
    """Return loss and token accuracy of each row."""
    model: Any = AutoModelForCausalLM.from_pretrained(serving.folder / "model", dtype=torch.float32)
    if adapter is not None:
        folder = serving.folder / f"fetched-{adapter.sha256[:8]}"
        fetch_folder(serving.store, adapter.prefix, [file.model_dump() for file in adapter.files], folder)
        model = PeftModel.from_pretrained(model, folder)
    found = []
    for row in rows:
        tokens = torch.tensor(row.tokens_L, dtype=torch.long)
        with torch.no_grad():
            logits = model(tokens[None]).logits[0, :-1]
        learnt = torch.tensor(row.learnt_L[1:])
        right = (logits.argmax(-1) == tokens[1:])[learnt].float().mean()
        loss = torch.nn.functional.cross_entropy(logits[learnt], tokens[1:][learnt])
        found.append((loss.item(), right.item()))
    return found


@pytest.mark.parametrize("tuned", [False, True], ids=["base", "adapter"])
def test_loss_and_accuracy_are_those_of_transformers(
    runs: EvalRuns, serving: Serving, server: ServerProcess, tuned: bool
) -> None:
    adapter = serving.adapter(5) if tuned else None
    wanted = by_transformers(
        serving,
        [
            *rendered(serving, [chat_row("Zero?", "none"), TURNS, LONG], "chat", 511),
            rendered(serving, [PREFERENCE], "preference", 511)[0],
            *rendered(serving, [LABELLED], "labelled", 511),
        ],
        adapter,
    )
    lines = [json.dumps(row) for row in (chat_row("Zero?", "none"), TURNS, LONG, PREFERENCE, LABELLED)]
    rows = runs.file(
        "\n\n".join(["", *lines]).encode()
    )  # rows are found by their lines, also behind blank ones
    found = runs.do([LOSS, ACCURACY], rows, adapter)
    losses, right = zip(*((r.results[0].score, r.results[1].score) for r in found.records), strict=True)
    assert losses == pytest.approx([loss for loss, _ in wanted], abs=1e-3)
    assert right == pytest.approx([accuracy for _, accuracy in wanted], abs=1e-6)
    counts = [record.results[0].counts or {} for record in found.records]
    assert found.report.criteria[0].value == pytest.approx(
        sum(each["sum"] for each in counts) / sum(each["tokens"] for each in counts)
    )
    assert [record.sample for record in found.records] == [None] * 5
    (used,) = found.report.usage
    assert (used.invocation_count, used.completion_tokens) == (5, 0)


def test_items_have_the_question_and_the_answer_of_training_rows(
    runs: EvalRuns, server: ServerProcess
) -> None:
    found = runs.do([{"type": "exact_match"}], runs.file([TURNS, PREFERENCE, LABELLED]))
    assert [record.item["reference"] for record in found.records] == ["learnt", "good", "four"]
    asked = [record.item["input"] for record in found.records]
    assert asked[1:] == [[{"role": "user", "content": "Three?"}], [{"role": "user", "content": "Four?"}]]
    assert [message["role"] for message in asked[0]] == ["system", "user", "assistant", "user"]
    assert all("weight" not in message for message in asked[0])


def test_a_row_that_is_no_training_row_is_an_error_of_that_row(runs: EvalRuns, server: ServerProcess) -> None:
    found = runs.do([LOSS], runs.file([{"question": "Zero?"}, chat_row("One?"), chat_row("Two?", "")]))
    codes = [record.error and record.error.code for record in found.records]
    assert codes == ["no_training_row", None, "no_training_row"]
    assert (found.report.errored, found.report.passed) == (2, 1)


def test_rows_of_which_none_can_be_learnt_fail_the_run(runs: EvalRuns, server: ServerProcess) -> None:
    with pytest.raises(JobError, match="no row is one") as raised:
        runs.do([LOSS], inline([{"question": "Zero?"}]))
    assert raised.value.code == "no_training_row"


def test_a_model_off_the_catalog_cannot_be_judged(runs: EvalRuns, server: ServerProcess) -> None:
    with pytest.raises(JobError, match="not on offer any more"):
        runs.do([LOSS], runs.file([chat_row("One?")]), base="gone")
