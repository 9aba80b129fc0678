"""Makes one composition: the adapter's files, and the row that exists from the task's last commit on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from core.compositions.methods import Criterion
from core.compositions.requests import ComposeRequest, Composition
from core.work import lease as leases
from worker.adapter_files.folder import CARD, write_manifest, write_tokenizer
from worker.tasks.composition.adapters import fetch_parts
from worker.tasks.composition.judging import SearchRows
from worker.tasks.composition.methods import Lora, Report, compose
from worker.tasks.composition.model_card import composition_card
from worker.tasks.composition.weight_search import Trial, Weights, best_of, search_weights
from worker.tasks.frame.work import Work
from worker.tasks.importing.factors import LoraFactors
from worker.tasks.importing.layers import Layers
from worker.tasks.importing.writing import write_lora
from worker.tasks.offered_base import OfferedBase, offered_base

SEARCH_BEGINS, SEARCH_ENDS, COMPOSED = 0.1, 0.9, 0.94  # of the work


@torch.no_grad()
def make_composition(work: Work, folder: Path) -> dict[str, Any]:
    """Write the files of the composed adapter, and return the report. Raises JobError if it cannot."""
    composition: Composition = work.request
    base = offered_base(work, composition.base_model)
    layers = Layers(base.folder)
    loras = fetch_parts(work, composition, base, layers)
    weights = tuple(parent.weight or 0.0 for parent in composition.parents)
    trials = _trials(work, composition.request, base, layers, loras, weights)
    if trials:
        weights = best_of(trials).weights
    report_layers = _reporting(work, "composing", SEARCH_ENDS if trials else SEARCH_BEGINS, COMPOSED)
    lora = compose(loras, weights, composition.request, layers, report_layers)
    weighted = zip(composition.parents, weights, strict=True)
    found = [parent.model_copy(update={"weight": weight}) for parent, weight in weighted]
    _write(work, composition.model_copy(update={"parents": found}), lora, layers, base, folder)
    report = {
        "weights": list(weights),
        "rank": lora.rank,
        "layers": len(lora.factors),
    }
    return report | {"trials": [trial.shown() for trial in trials]} if trials else report


def _trials(
    work: Work,
    asked: ComposeRequest,
    base: OfferedBase,
    layers: Layers,
    loras: Sequence[Lora],
    start: Weights,
) -> Sequence[Trial]:
    """Return the trials of the search for weights; none if the request asks for no search."""
    if asked.search is None:
        return ()
    rows, most = SearchRows(work, asked, base, layers), asked.search.trials
    criterion = asked.search.criterion

    def new_trial(weights: Weights, number: int) -> Trial:
        begins, composed, ends = (_share_searched((number + part) / most) for part in (0, 0.5, 1))
        phase = f"trial {number + 1} of {most}"
        lora = compose(loras, weights, asked, layers, _reporting(work, phase, begins, composed))
        return Trial(weights, rows.judge(lora, _reporting(work, phase, composed, ends)), criterion)

    return search_weights(start, most, _kept(work, criterion, new_trial))


def _kept(
    work: Work, criterion: Criterion, new_trial: Callable[[Weights, int], Trial]
) -> Callable[[Weights], Trial]:
    """Return what makes each trial once for all processes of the task. After each new one, it may give way.

    The trials stand in the task's report. The search of another process asks for the same ones again.
    """
    stored = (work.task.report or {}).get("trials", ())
    known = {trial.weights: trial for trial in (Trial.read(each, criterion) for each in stored)}

    def trial_of(weights: Weights) -> Trial:
        if weights not in known:
            known[weights] = new_trial(weights, len(known))
            with work.sessions.begin() as session:
                leases.note(session, work.lease, {"trials": [trial.shown() for trial in known.values()]})
            work.give_way()
        return known[weights]

    return trial_of


def _share_searched(share: float) -> float:
    """Return the share of the work that is done when this share of the search is."""
    return SEARCH_BEGINS + (SEARCH_ENDS - SEARCH_BEGINS) * share


def _reporting(work: Work, phase: str, begins: float, ends: float) -> Report:
    """Say that a phase begins, and return what reports the share of the phase that is done.

    Small steps must count as progress, since a process without progress is taken for one that hangs.
    """

    def report(share: float) -> None:
        work.progress(phase, begins + (ends - begins) * share)

    report(0.0)
    return report


def _write(
    work: Work,
    composition: Composition,
    lora: LoraFactors,
    layers: Layers,
    base: OfferedBase,
    folder: Path,
) -> None:
    """Write the adapter's files, and say which adapter they are."""
    asked, entry = composition.request, base.entry
    options, facts = write_lora(lora, layers, entry, folder)
    write_tokenizer(AutoTokenizer.from_pretrained(base.folder, trust_remote_code=False), folder)
    card = composition_card(entry, asked, composition.parents, options)
    (folder / CARD).write_text(card, "utf-8")
    composed = {
        "composition_id": work.task.id,
        **asked.model_dump(mode="json", exclude={"adapters", "suffix", "search"}),
        "parents": [parent.model_dump(mode="json") for parent in composition.parents],
    }
    described = {
        "composed": composed,
        "base_model": entry.repository,
        "base_revision": entry.revision,
        "base_sha256": base.sha256,
        "adapter": options,
    }
    write_manifest(folder, described, entry.quantization is not None)
    origin = {"type": "composition", **composed}
    work.make_adapter(entry.id, asked.suffix, options=options, origin=origin, facts=facts)
