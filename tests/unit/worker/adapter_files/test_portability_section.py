"""The last section of a model card: rules at first, then what was measured, in tables that stay whole."""

from datetime import UTC, datetime

from core.methods.low_rank import LoraAdapter
from core.portability.report import Attempt, Figures, Measurement, Prompts, RuntimeReport
from core.portability.rules import reports_by_rule
from worker.adapter_files.portability_section import HEADING, section_by_rule, with_measurement

CARD = "# tiny adapter\n\nA table.\n"
BY_RULE = reports_by_rule(LoraAdapter(r=4).model_dump(), "example/Tiny", "main")
AT = datetime(2026, 11, 28, 14, 5, 59, tzinfo=UTC)
ALIKE = Figures(
    prompts=20,
    greedy_equal=20,
    max_logprob_difference=2.4e-05,
    first_difference=None,
    template_tokens_equal=True,
)
APART = Figures(
    prompts=20,
    greedy_equal=17,
    max_logprob_difference=0.011,
    first_difference=0.0019,
    template_tokens_equal=True,
)


def measured(runtime: RuntimeReport, version: str, status: str, *attempts: Attempt) -> RuntimeReport:
    found = {"measured": True, "version": version, "status": status, "attempts": list(attempts)}
    return runtime.model_copy(update=found)


def found(*first: RuntimeReport) -> Measurement:
    return Measurement(
        prompts=Prompts(count=20, from_validation_file=3, from_general_list=17, new_tokens=16),
        runtimes=[*first, *BY_RULE[len(first) :]],
    )


def alike_in_peft() -> Measurement:
    attempt = Attempt(form="as_it_is", loads=True, reason=None, figures=ALIKE)
    return found(measured(BY_RULE[0], "0.21.2", "works", attempt))


def rows_of(card: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith("|")]


def test_a_card_that_nobody_has_measured_says_so_of_each_runtime_that_can_be_measured() -> None:
    section = section_by_rule(BY_RULE)
    for name in ("PEFT", "vLLM", "llama.cpp"):
        assert any(row.startswith(f"| {name} |") and "not measured here" in row for row in rows_of(section))
    for name in ("SGLang", "LoRAX", "Ollama", "MLX"):
        assert any(row.startswith(f"| {name} |") and "| a rule |" in row for row in rows_of(section))


def test_a_measured_card_has_versions_figures_and_the_time_and_says_what_is_not_measured() -> None:
    card = with_measurement(CARD + section_by_rule(BY_RULE), alike_in_peft(), AT)
    assert card.startswith(CARD)
    assert "Measured on 2026-11-28 at 14:05 UTC." in card
    assert "3 of the validation file" in card
    assert "| PEFT 0.21.2 | as it is | measured: works |" in card
    assert "| PEFT 0.21.2 | as it is | 20 of 20 | 2.4e-05 | none | equal |" in card
    assert any(row.startswith("| vLLM |") and "not measured here" in row for row in rows_of(card))


def test_every_rule_on_a_card_names_its_sources_and_a_measurement_needs_none() -> None:
    by_rule, measured_card = section_by_rule(BY_RULE), with_measurement(CARD, alike_in_peft(), AT)
    for report in BY_RULE:
        for source in report.sources:
            assert f"<{source}>" in by_rule
            assert (f"<{source}>" in measured_card) == (report.runtime != "peft")


def test_each_form_that_a_runtime_was_given_has_its_row() -> None:
    loads = Attempt(form="gguf_adapter", loads=True, reason=None, figures=APART)
    not_made = Attempt(form="gguf", loads=False, reason="Its architecture is unknown.", figures=None)
    report = measured(BY_RULE[2], "2026.10", "works", loads, not_made)
    rows = rows_of(with_measurement(CARD, found(*BY_RULE[:2], report), AT))
    assert "| llama.cpp 2026.10 | export `gguf_adapter` | 17 of 20 | 0.011 | 0.0019 | equal |" in rows
    assert "| llama.cpp 2026.10 | export `gguf` | no answers: Its architecture is unknown. |  |  |  |" in rows


def test_the_next_measurement_takes_the_place_of_the_one_before() -> None:
    first = with_measurement(CARD + section_by_rule(BY_RULE), alike_in_peft(), AT)
    later = AT.replace(year=2027)
    second = with_measurement(first, alike_in_peft(), later)
    assert second == first.replace("2026", "2027")
    assert second.count(HEADING) == 1


def test_a_card_without_the_section_gets_it() -> None:
    assert with_measurement(CARD, alike_in_peft(), AT).startswith(CARD + HEADING)


def test_what_a_runtime_says_breaks_no_table() -> None:
    said = Attempt(form="gguf", loads=False, reason="line one\n| a | b |\nline three", figures=None)
    report = measured(BY_RULE[2], "2026.10", "fails", said).model_copy(update={"reason": said.reason})
    card = with_measurement(CARD, found(*BY_RULE[:2], report), AT)
    told = [row for row in rows_of(card) if "line one" in row]
    assert len(told) == 2
    assert all("line one \\| a \\| b \\| line three" in row for row in told)
