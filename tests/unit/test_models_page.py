"""The page of models lists the families that tests hold, and no others."""

import pytest

from tests.fixtures.engine.architectures import EXPERTS_PACKED, FAST, PLAIN, PORTABLE
from tests.fixtures.engine.wrappers import FAST_WRAPPERS, PORTABLE_WRAPPERS
from tests.fixtures.paths import REPOSITORY

HELD = {
    "fast": FAST | FAST_WRAPPERS,
    "portable": PORTABLE | PORTABLE_WRAPPERS | EXPERTS_PACKED,
    "plain": PLAIN,
}
LISTED = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (REPOSITORY / "docs/models.md").read_text().splitlines()
    if line.count("|") == 5 and line.split("|")[3].strip() in HELD
]


@pytest.mark.parametrize("path", HELD)
def test_each_family_that_tests_hold_is_listed_with_its_path(path: str) -> None:
    models = [model for row in LISTED if row[2] == path for model in row[3].split("; ")]
    assert sorted(models) == sorted(HELD[path])


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row[0])
def test_a_family_is_listed_with_the_types_of_its_models(row: list[str]) -> None:
    types = {HELD[row[2]][model]().model_type for model in row[3].split("; ")}
    assert types <= {name.strip(" `") for name in row[1].split(",")}
