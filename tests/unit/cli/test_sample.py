"""The sample dataset: the same for everyone, accepted by the check, and without its held-out tickets."""

import json

import pytest

from cli.commands.files.sample import ITEMS, PROBLEMS, TRAINING_NAME, held_out, sample_files, score
from core.datasets.check import DatasetCheck
from worker.dataset_checks.content_check import ContentCheck, RowsOfFile

RECORD = '{"team":"repairs","item":"kettle","order":"PE-4821","due":"now"}'


def pairs_in(text: str) -> list[tuple[str, str]]:
    """Return the pairs of problem and item that a ticket can be about."""
    return [
        (problem, item)
        for problems in PROBLEMS.values()
        for problem in problems
        for item, names in ITEMS.items()
        for name in names
        if problem.format(item=name) in text
    ]


def training_file(rows: int = 300, seed: int = 0) -> bytes:
    return sample_files(rows, seed)[TRAINING_NAME]


def test_has_distinct_rows_that_pass_the_check() -> None:
    file = training_file(500)
    check = DatasetCheck(max_row_bytes=2000)
    check.feed(file)
    report = check.finish()
    assert (report.rows, report.findings) == (500, [])
    assert len(set(file.splitlines())) == 500


@pytest.mark.parametrize("seed", range(3))
def test_a_newcomers_first_check_of_the_content_warns_of_nothing(seed: int) -> None:
    validation = RowsOfFile()
    for number, ticket in enumerate(held_out(seed=seed), 1):
        validation.read(number, json.dumps(ticket.row).encode())
    check = ContentCheck(validation)
    for number, line in enumerate(training_file(seed=seed).splitlines(), 1):
        check.add(number, line)
    report = check.finish().report
    assert (report.rows, report.validation_rows, report.findings) == (300, 20, [])


def test_depends_on_the_seed_alone() -> None:
    one, same, other = (training_file(50, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert held_out(20, seed=1) == held_out(20, seed=1) != held_out(20, seed=2)
    assert held_out(50, seed=1)[:20] == held_out(20, seed=1)


def test_holds_out_pairs_of_problem_and_item_that_training_never_shows() -> None:
    rows = map(json.loads, training_file(3000).splitlines())
    trained = {pair for row in rows for pair in pairs_in(row["messages"][1]["content"])}
    asked = {pair for ticket in held_out(500, seed=7) for pair in pairs_in(ticket.text)}
    assert len(trained) > 350
    assert len(asked) > 80
    assert not trained & asked


def test_a_record_says_what_the_ticket_says() -> None:
    for ticket in held_out(100):
        record = json.loads(ticket.record)
        (pair,) = pairs_in(ticket.text)
        assert pair[0] in PROBLEMS[record["team"]]
        assert pair[1] == record["item"]
        number = record["order"].removeprefix("PE-")
        assert number in ticket.text if number != "none" else not any(c.isdigit() for c in ticket.text)
        assert ticket.row["messages"] == [*ticket.prompt, {"role": "assistant", "content": ticket.record}]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RECORD, 1),
        (f" {RECORD}\n", 1),
        (RECORD.replace(",", ", "), 0.5),
        (RECORD.replace("now", "soon"), 0.375),
        (RECORD.replace("now", "soon").replace("kettle", "pan"), 0.25),
        (RECORD.replace("}", ',"mood":"cross"}'), 0.4),
        ('{"team":"repairs"}', 0.125),
        (RECORD[:-1], 0),
        ("I am sorry about your kettle.", 0),
        ("[1]", 0),
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_scores_an_answer(answer: str, expected: float) -> None:
    assert score(answer, RECORD) == expected
