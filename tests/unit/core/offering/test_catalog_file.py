"""Changes of the catalog's file, and what processes that have read it see of them."""

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.catalog import SMOLLM2, BaseModelEntry, load_catalog, offered_models, read_entries
from core.errors import ConfigurationError, Conflict, NotFound
from core.offering.catalog_file import add_entry, as_toml, remove_entry


def entry(model_id: str, **fields: Any) -> BaseModelEntry:
    given = {"repository": "example/Model", "source": "hub", "revision": "main", "license": "MIT", **fields}
    return BaseModelEntry.model_validate({"id": model_id, "max_length": 512, **given})


def ids(catalog: Any) -> list[str]:
    return [each.id for each in catalog]


def test_the_first_addition_keeps_the_model_that_was_on_offer(tmp_path: Path) -> None:
    file = tmp_path / "home" / "catalog.toml"
    settings = cast(Any, SimpleNamespace(catalog_file=None, own_catalog=file))
    catalog = offered_models(settings)
    assert ids(catalog) == [SMOLLM2.id]
    added = entry("other", path=Path('/a "folder"'), source="folder", shutdown_date=date(2031, 1, 31))
    add_entry(file, added)
    assert list(catalog) == [SMOLLM2, added]
    remove_entry(file, SMOLLM2.id)
    assert list(catalog) == [added]


def test_comments_and_other_entries_stay(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    add_entry(file, entry("first"))
    file.write_text(file.read_text() + '# said by the operator\nquantization = "nf4"\n')
    add_entry(file, entry("second"))
    remove_entry(file, SMOLLM2.id)
    assert "# said by the operator" in file.read_text()
    assert [(each.id, each.quantization) for each in load_catalog(file)] == [
        ("first", "nf4"),
        ("second", None),
    ]


def test_an_entry_goes_with_the_comments_above_it_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    add_entry(file, entry("first"))
    file.write_text(f"{file.read_text()}\n# of the first, at its end\n\n# about the second\n# in two lines\n")
    file.write_text(file.read_text() + as_toml(entry("second")))
    add_entry(file, entry("third"))
    before = file.read_text()
    remove_entry(file, "first")
    assert "# about the second\n# in two lines\n[[model]]" in file.read_text()
    file.write_text(before)
    remove_entry(file, "second")
    assert "about the second" not in file.read_text()
    assert "# of the first, at its end" in file.read_text()
    assert ids(load_catalog(file)) == [SMOLLM2.id, "first", "third"]


def test_a_file_with_its_models_in_one_list_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    models = (as_toml(entry(name)).strip().splitlines()[1:] for name in ("first", "second"))
    file.write_text(f"model = [{', '.join('{' + ', '.join(fields) + '}' for fields in models)}]\n")
    before = file.read_text()
    for change in (partial(add_entry, file, entry("third")), partial(remove_entry, file, "first")):
        with pytest.raises(ConfigurationError, match="Change it with an editor"):
            change()
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.toml"]


def test_what_would_leave_a_wrong_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    add_entry(file, entry("model"))
    before = file.read_text()
    with pytest.raises(Conflict, match="has a model 'model' already"):
        add_entry(file, entry("model"))
    with pytest.raises(NotFound, match="has no model 'absent'"):
        remove_entry(file, "absent")
    assert file.read_text() == before
    remove_entry(file, "model")
    with pytest.raises(Conflict, match="is the only model"):
        remove_entry(file, SMOLLM2.id)


def test_a_file_that_has_become_wrong_changes_nothing_until_it_is_right(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    add_entry(file, entry("model"))
    catalog = load_catalog(file)
    right = file.read_text()
    file.write_text("[[model]]\nid = 3\n")
    assert ids(catalog) == [SMOLLM2.id, "model"]
    file.write_text(right.replace('"model"', '"renamed"'))
    assert ids(catalog) == [SMOLLM2.id, "renamed"]


def test_a_file_that_an_editor_writes_anew_leaves_the_models_on_offer(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    settings = cast(Any, SimpleNamespace(catalog_file=None, own_catalog=file))
    add_entry(file, entry("model"))
    catalog = offered_models(settings)
    text = file.read_text()
    file.unlink()
    assert ids(catalog) == [SMOLLM2.id, "model"]
    file.write_text(text.replace('"model"', '"renamed"'))
    assert ids(catalog) == [SMOLLM2.id, "renamed"]


def test_a_catalog_that_cannot_be_looked_at_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    no_folder = tmp_path / "home"
    no_folder.write_text("")
    settings = cast(Any, SimpleNamespace(catalog_file=None, own_catalog=no_folder / "catalog.toml"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        offered_models(settings)


def test_no_thread_stores_old_models_under_a_newer_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "catalog.toml"
    add_entry(file, entry("first"))
    catalog = load_catalog(file)
    reads, go_on = Event(), Event()

    def slowly(file: Path | None) -> list[BaseModelEntry]:
        found = read_entries(file)
        if not reads.is_set():
            reads.set()
            go_on.wait(120)
        return found

    monkeypatch.setattr("core.catalog.read_entries", slowly)
    add_entry(file, entry("second"))
    with ThreadPoolExecutor(2) as pool:
        former = pool.submit(ids, catalog)
        assert reads.wait(120)
        remove_entry(file, "first")
        latter = pool.submit(ids, catalog)
        wait([latter], timeout=0.2)  # it may wait for the first one
        go_on.set()
        former.result()
        latter.result()
    assert ids(catalog) == [SMOLLM2.id, "second"]


def test_additions_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    names = [f"model-{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: add_entry(file, entry(name)), names))
    assert set(ids(load_catalog(file))) == {SMOLLM2.id, *names}


def test_a_file_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    no_folder = tmp_path / "home"
    no_folder.write_text("")
    with pytest.raises(ConfigurationError, match=r"right to write .* TUNERY_CATALOG_FILE"):
        add_entry(no_folder / "catalog.toml", entry("model"))
