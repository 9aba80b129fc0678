"""The benchmark of methods: its cases, its scores, and the tables that it makes from its results."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bench.engine.base_bytes import bytes_by_part
from bench.jobs import e2e_nlg, methods
from bench.jobs import table as method_table
from bench.jobs.api_job import catalog_of
from bench.jobs.cases import OPTIONS, VARIANTS, cases, is_on_offer
from bench.pages import marked
from core.catalog import load_catalog
from core.methods.registry import METHODS


def result(name: str, **changed: Any) -> dict[str, Any]:
    fields = {
        "name": name,
        "title": f"Method {name}",
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "base_model": "a/b",
        "machine": {"cpu": "A CPU", "threads": 2},
        "alone": False,
        "versions": {"torch": "2.0"},
        "source": "generated",
        "rows": 64,
        "validation_rows": 20,
        "prompts": 20,
        "epochs": 1,
        "batch_size": 4,
        "beams": 1,
        "learning_rate": 2e-4,
        "losses": [4.0, 2.0, 3.0, 3.0, 3.0, 3.0, 1.0, 0.0],
        "validation_loss": 1.25,
        "artifact_bytes": 1_234_567,
        "peak_rss_bytes": 2_500_000_000,
        "tokens_per_second": 100.4,
        "trained_parameters": 4_884_480,
        "loss": 1.2501,
        "exact": 3,
        "bleu": 61.25,
        "signature": "nrefs:var",
    }
    return fields | changed


def row_of(text: str, title: str) -> list[str]:
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {title} ")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_every_method_on_offer_is_measured_and_every_request_would_be_taken() -> None:
    measured = [case for case in cases() if case.adapter]
    assert {case.adapter["type"] for case in measured if case.adapter} == METHODS.keys()
    assert len({case.name for case in measured}) == len(measured)
    for case in measured:
        assert is_on_offer(case.adapter or {}), case.name


def test_a_variant_that_is_not_on_offer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "lora-not-yet", ("Not yet", {"init_lora_weights": "not yet"}))
    assert "lora-not-yet" not in {case.name for case in cases()}


def test_options_are_of_methods_that_exist() -> None:
    assert OPTIONS.keys() <= METHODS.keys()


def test_a_service_can_read_the_catalog_of_a_quantised_base(tmp_path: Path) -> None:
    (case,) = [case for case in cases() if case.name == "lora-nf4"]
    (tmp_path / "catalog.toml").write_text(catalog_of(case.base))
    assert load_catalog(tmp_path / "catalog.toml").get(case.base.id) == case.base
    assert case.base.quantization == "nf4"


def test_rows_held_out_and_prompts_are_not_trained_on(tmp_path: Path) -> None:
    given = methods.arguments_of(["--rows", "6", "--validation-rows", "4", "--prompts", "2"])
    task = methods.task_of(given)
    assert (len(task.training), len(task.validation)) == (6, 4)
    assert task.prompts == task.validation[:2]
    assert not any(row in task.training for row in task.validation)


def test_an_answer_is_exact_where_it_is_the_expected_one_to_the_letter() -> None:
    rows = [{"messages": [{"role": "assistant", "content": said}]} for said in ("a b", "c", "d")]
    assert methods.exact(rows, ["a b", "c.", "D"]) == {"exact": 1}


def test_table_shows_quarters_of_the_loss_and_marks_a_shared_machine() -> None:
    text = method_table.text([result("a"), result("b", alone=True)])
    cells = row_of(text, "Method a")
    assert cells[:3] == ["0.0002", "3.000", "0.500"]
    assert cells[3:] == ["1.2500", "1.2501", "3 of 20", "4,884,480", "1,235", "2.50", "100*"]
    assert row_of(text, "Method b")[-1] == "100"
    assert "shared machine" in text
    assert "shared machine" not in method_table.text([result("b", alone=True)])


def test_speeds_of_another_machine_than_most_are_marked() -> None:
    elsewhere = {**result("b", alone=True), "machine": {"cpu": "another", "threads": 2}}
    text = method_table.text([result("a", alone=True), elsewhere, result("c", alone=True)])
    assert [row_of(text, f"Method {name}")[-1] for name in "abc"] == ["100", "100†", "100"]
    assert "† Measured on another" in text


def test_a_run_that_failed_is_shown_with_its_reason() -> None:
    text = method_table.text([{**result("a"), "failure": "it broke"}, result("b")])
    assert row_of(text, "Method a")[0] == "failed"
    assert "- Method a failed: it broke" in text.splitlines()


def test_results_of_several_runs_make_one_table_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n{}\n\nstale\n\n{}\n\nThe end.\n".format(*marked.marks(method_table.SCRIPT)))
    for name in ("ia3", "lora"):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(name)))
        method_table.write(tmp_path, page)
    text = page.read_text()
    assert text.index("| Method lora") < text.index("| Method ia3")
    assert "Not measured yet: (base model alone), AdaLoRA" in text
    assert text.startswith("# Page\n")
    assert text.endswith("\nThe end.\n")
    assert "stale" not in text


def test_a_page_without_the_marks_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    with pytest.raises(ValueError, match="lacks"):
        marked.put(page, "bench/jobs/methods.py", "text")
    assert page.read_text() == "# Page\n"


def test_shared_weights_are_counted_once() -> None:
    model = nn.ModuleDict(
        {"words": nn.Embedding(10, 4), "up": nn.Linear(4, 4), "head": nn.Linear(4, 10, bias=False)}
    )
    model["head"].weight = model["words"].weight
    found = bytes_by_part(model)
    assert found == {"embedding and head": 4 * 40, "linear layers": 4 * (16 + 4), "norms and buffers": 0}


def test_meanings_are_grouped_with_all_their_sentences(tmp_path: Path) -> None:
    file = tmp_path / "test.txt"
    file.write_text("name : A||A it is . \nname : B||B .\nname : A||That is A .\n")
    assert e2e_nlg.read_meanings(file) == {"name : A": ["A it is .", "That is A ."], "name : B": ["B ."]}


def test_bleu_takes_all_references_of_an_answer_and_no_other_answer_s() -> None:
    references = [
        ["the cat sat on the mat", "a cat was sitting on a mat"],
        ["it rains in the old town today"],
    ]
    right = ["a cat was sitting on a mat", "it rains in the old town today"]
    assert e2e_nlg.bleu(references, right)["bleu"] == 100
    assert e2e_nlg.bleu(references, right[::-1])["bleu"] < 10


def test_the_table_of_e2e_nlg_shows_failures_and_scores() -> None:
    text = e2e_nlg.text([result("a"), {**result("b"), "failure": "it broke"}])
    assert row_of(text, "Method a") == ["0.0002", "4,884,480", "2.375", "61.2"]
    assert row_of(text, "Method b")[0] == "failed"
