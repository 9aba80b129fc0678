"""Loss and token accuracy are those of transformers and PEFT on the rows as training renders them."""

import json

import pytest
from sqlalchemy import update

from core.errors import JobError
from core.tables import Artifact, Checkpoint
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.work.evals import LOSS, EvalRuns, chat_row, inline
from tests.fixtures.work.evals_api import EVALS, make_eval, make_run
from tests.fixtures.work.likelihood import by_transformers, rendered

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


@pytest.mark.parametrize("tuned", [False, True], ids=["base", "adapter"])
def test_loss_and_accuracy_are_those_of_transformers(
    runs: EvalRuns, serving: Serving, server: ServerProcess, tuned: bool
) -> None:
    adapter, base = serving.adapter(5) if tuned else None, serving.folder / "model"
    wanted = by_transformers(
        serving,
        [
            *rendered(base, [chat_row("Zero?", "none"), TURNS, LONG], "chat", 511),
            rendered(base, [PREFERENCE], "preference", 511)[0],
            *rendered(base, [LABELLED], "labelled", 511),
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


def test_a_checkpoint_is_judged_by_its_own_weights(
    runs: EvalRuns, serving: Serving, server: ServerProcess, chat_api: Api
) -> None:
    tenant, weights = chat_api.tenant(), serving.adapter(6)
    lease = chat_api.claim(tenant.create_job(model=TINY)["id"])
    checkpoint_id = chat_api.checkpoint(lease, 3)
    files = [file.model_dump() for file in weights.files]
    with chat_api.sessions.begin() as session:
        checkpoint = session.get_one(Checkpoint, checkpoint_id)
        in_ledger = update(Artifact).where(Artifact.prefix == checkpoint.object_prefix)
        session.execute(in_ledger.values(prefix=weights.prefix))
        checkpoint.object_prefix, checkpoint.files = weights.prefix, files
    (listed,) = tenant.http.get(f"/v1/fine_tuning/jobs/{lease.job_id}/checkpoints").json()["data"]
    name = listed["fine_tuned_model_checkpoint"]
    assert name.endswith(":ckpt-step-3")
    rows = [chat_row("Zero?", "none"), chat_row("One?", "one")]
    file_id = tenant.upload(b"".join(json.dumps(each).encode() + b"\n" for each in rows), "evals")
    eval_id = make_eval(tenant, testing_criteria=[{"name": "loss", **LOSS}])
    source = {"type": "file_id", "id": file_id}
    run_id = make_run(tenant, eval_id, model=name, source=source, input_messages=None)
    tenant.openai.fine_tuning.jobs.cancel(lease.job_id)
    runs.do_next(run_id)
    wanted = by_transformers(serving, rendered(serving.folder / "model", rows, "chat", 511), weights)
    losses = [record.results[0].score for record in runs.found(run_id).records]
    assert losses == pytest.approx([loss for loss, _ in wanted], abs=1e-3)
    assert tenant.openai.evals.runs.retrieve(run_id, eval_id=eval_id).model == name
    assert [each["id"] for each in tenant.http.get(EVALS, params={"model": name}).json()["data"]] == [eval_id]


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
