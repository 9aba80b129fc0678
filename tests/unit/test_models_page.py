"""The page of models lists the families that tests hold, and no others."""

import pytest

from tests.fixtures.engine.architectures import FAST, PLAIN, PORTABLE
from tests.fixtures.engine.wrappers import FAST_WRAPPERS, PLAIN_WRAPPERS, PORTABLE_WRAPPERS
from tests.fixtures.models.gguf_families import EXPORTED, REFUSED, of_family
from tests.fixtures.paths import REPOSITORY
from worker.tasks.export.gguf_files.architecture import architecture_of

HELD = {
    "fast": FAST | FAST_WRAPPERS,
    "portable": PORTABLE | PORTABLE_WRAPPERS,
    "plain": PLAIN | PLAIN_WRAPPERS,
}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (REPOSITORY / "docs/models.md").read_text().splitlines()
    if line.startswith("|")
]
LISTED = [row for row in ROWS if len(row) == 4 and row[2] in HELD]


@pytest.mark.parametrize("path", HELD)
def test_each_family_that_tests_hold_is_listed_with_its_path(path: str) -> None:
    models = [model for row in LISTED if row[2] == path for model in row[3].split("; ")]
    assert sorted(models) == sorted(HELD[path])


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row[0])
def test_a_family_is_listed_with_the_types_of_its_models(row: list[str]) -> None:
    types = {HELD[row[2]][model]().model_type for model in row[3].split("; ")}
    assert types <= {name.strip(" `") for name in row[1].split(",")}


def test_each_family_is_listed_with_llama_cpp_s_name_or_with_the_reason_why_it_is_refused() -> None:
    expected: dict[str, set[str]] = {}
    for name in EXPORTED:
        architecture = architecture_of(of_family(name).get_text_config()).name
        expected.setdefault(f"`{architecture}`", set()).add(name)
    for name, reason in REFUSED.items():
        expected.setdefault(f"– {reason}", set()).add(name)
    named = {name for names in expected.values() for name in names}
    listed = {
        row[0]: {*row[1].split("; ")} for row in ROWS if len(row) == 2 and named & {*row[1].split("; ")}
    }
    assert listed == expected
