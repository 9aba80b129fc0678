"""Judges a composed adapter on rows of files, with the base model in fp32."""

import random
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from transformers import AutoTokenizer

from core.compositions.requests import ComposeRequest
from core.datasets.check import read_rows
from core.errors import JobError
from core.jobs import lifecycle
from core.tables import File
from worker.base_models.model_store import load_errors_explained
from worker.process.scratch import scratch_folder
from worker.rendering.render import Rendering
from worker.rendering.stored_file import fetch
from worker.rows.row import Row
from worker.tasks.composition.methods import Report
from worker.tasks.composition.weight_search import FileResult
from worker.tasks.export.source import load_in_fp32
from worker.tasks.frame.work import Work
from worker.tasks.importing.factors import LoraFactors
from worker.tasks.importing.layers import Layers
from worker.tasks.importing.writing import lora_config, named_tensors
from worker.tasks.offered_base import OfferedBase

MOST_TOKENS = 2048  # of a row; what is longer is cut
CHUNK_BYTES = 1024**2


class _JudgedRow(NamedTuple):
    """The learnt tokens of a row: their summed and weighted loss in nats, and how many are the likeliest."""

    summed_loss: float
    right_tokens: int
    tokens: int


class SearchRows:
    """The rows of a search, and the base model that predicts them."""

    def __init__(self, work: Work, asked: ComposeRequest, base: OfferedBase, layers: Layers) -> None:
        """Draw and render the rows, and load the base model. Raises JobError."""
        self._layers = layers
        self._files = list(_rendered(work, asked, base))
        work.progress(lifecycle.LOADING, 0.05)
        with load_errors_explained(base.entry):
            self._base = load_in_fp32(base.folder)
        self._model: PeftModel | None = None

    def judge(self, lora: LoraFactors, report: Report) -> Sequence[FileResult]:
        """Return how well the adapter predicts the rows of each file. `report` is called after each row."""
        if self._model is None:
            self._model = get_peft_model(self._base, lora_config(lora, self._layers)).eval()
        set_peft_model_state_dict(self._model, named_tensors(lora))
        count, judged = sum(map(len, self._files)), 0
        results = []
        for rows in self._files:
            found = []
            for row in rows:
                found.append(_judged(self._model, row))
                judged += 1
                report(judged / count)
            results.append(_result(rows, found))
        return results


def _rendered(work: Work, asked: ComposeRequest, base: OfferedBase) -> Iterator[Sequence[Row]]:
    search = asked.search
    assert search is not None
    tokenizer = AutoTokenizer.from_pretrained(base.folder, trust_remote_code=False)
    longest = min(base.entry.max_length, MOST_TOKENS)
    for position, file_id in enumerate(search.files):
        param = f"search.files.{position}"
        work.progress(f"reading file {position + 1} of {len(search.files)}", 0.04)
        with work.sessions() as session:
            file = session.get(File, file_id)
        if file is None or file.deleted_at is not None:
            raise JobError("file_not_found", f"The file {file_id} has been deleted.", param)
        lines = _drawn(work, file, param, search.rows, asked.seed or 0)
        yield list(Rendering(tokenizer, longest, param).render(lines))


def _drawn(work: Work, file: File, param: str, most: int, seed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield up to `most` rows of the file, drawn by the seed, in the order of the file."""
    count = file.rows or 0
    chosen = set(random.Random(seed).sample(range(count), min(most, count)))  # noqa: S311
    with scratch_folder("task") as folder, fetch(work.store, file, param, folder, lambda: None) as content:
        content.seek(0)
        rows = read_rows(iter(lambda: content.read(CHUNK_BYTES), b""))
        yield from (row for position, row in enumerate(rows) if position in chosen)


def _judged(model: PeftModel, row: Row) -> _JudgedRow:
    tokens_L = torch.from_numpy(row.tokens_L).long()
    learnt_L = torch.from_numpy(row.learnt_L[1:])
    logits_LV = model(input_ids=tokens_L[None]).logits[0, :-1][learnt_L].float()
    answer_L = tokens_L[1:][learnt_L]
    loss_L = torch.nn.functional.cross_entropy(logits_LV, answer_L, reduction="none")
    if row.weights_L is not None:
        loss_L = loss_L * torch.from_numpy(row.weights_L[1:])[learnt_L]
    right = int((logits_LV.argmax(-1) == answer_L).sum())
    return _JudgedRow(float(loss_L.sum()), right, len(answer_L))


def _result(rows: Sequence[Row], judged: Sequence[_JudgedRow]) -> FileResult:
    return FileResult(
        loss=sum(each.summed_loss for each in judged) / sum(row.weight for row in rows),
        token_accuracy=sum(each.right_tokens for each in judged) / sum(each.tokens for each in judged),
        exact_match=fmean(each.right_tokens == each.tokens for each in judged),
    )
