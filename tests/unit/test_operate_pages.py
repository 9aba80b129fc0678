"""What the pages for operators name exists: commands, metrics, settings, events of logs, and codes."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from core.monitoring import declared
from core.settings import Settings
from tests.fixtures.paths import REPOSITORY

FOLDER = REPOSITORY / "docs/operate"
PAGES = sorted(FOLDER.glob("*.md"))
INCIDENTS = FOLDER / "incidents.md"
# Variables with our prefix that are no settings: the Makefile's and tests', or those of `.env`
OTHER_VARIABLES: set[str] = {"TUNERY_API_KEY", "TUNERY_BASE_URL"}  # of clients
FOREIGN = {"max_connections", "pg_wal"}  # words of other programs


# What may stand before a command, so that `helm install tunery …` is none
COMMAND = r"(?:^|bin/|-- |&& |; |\b[A-Z_]+=\S+ |exec \w+ )tunery "


@cache
def commands() -> Any:
    return typer.main.get_command(app)


@cache
def sources() -> str:
    """Return our code as one text."""
    files = (path for part in ("api", "cli", "core", "worker") for path in (REPOSITORY / part).rglob("*.py"))
    return "\n".join(path.read_text() for path in files)


def code_in(page: Path) -> list[str]:
    """Return the pieces of a page between backticks, and the lines of its blocks."""
    text = page.read_text()
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [*inline, *(line for block in blocks for line in block.replace("\\\n", " ").splitlines())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_that_a_page_names_exists(page: Path) -> None:
    for code in code_in(page):
        for found in re.findall(COMMAND + r"((?:[a-z][a-z-]+ ?)+)", code):
            words, command = found.split(), commands()
            while (inner := getattr(command, "commands", None)) and words:
                assert words[0] in inner, f"{page.name}: tunery {found}"
                command = inner[words.pop(0)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_option_of_a_command_that_a_page_names_exists(page: Path) -> None:
    for code in code_in(page):
        found = re.search(COMMAND + r"((?:[a-z][a-z-]+ )+)([^|>#;&]*)", code)
        if found is None:
            continue
        command = commands()
        for word in found[1].split():
            command = getattr(command, "commands", {}).get(word, command)
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        given = set(re.findall(r"(?<!\S)--[a-z][\w-]*", found[2]))
        assert given <= known | {"--help"}, f"{page.name}: {code}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_metric_that_a_page_names_is_declared(page: Path) -> None:
    known = set(re.findall(r'"(tunery_[a-z_]+)"', Path(declared.__file__).read_text()))
    named = set(re.findall(r"`(tunery_[a-z_]+)(?:\{[^`]*)?`", page.read_text()))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_setting_that_a_page_names_exists(page: Path) -> None:
    known = {f"TUNERY_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"\b(TUNERY_[A-Z_]*[A-Z])\b", page.read_text()))
    assert named <= known | OTHER_VARIABLES


def test_the_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text()))
    assert listed == {page.name for page in PAGES} - {"README.md"}


def test_each_event_and_code_of_the_page_of_incidents_is_in_the_code() -> None:
    """A word with an underscore is an event of a log, an error's code, or a reason: a string of ours."""
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", INCIDENTS.read_text()))
    words = {word for word in words if not word.startswith("tunery_")} - FOREIGN
    assert len(words) > 30
    assert {word for word in words if f'"{word}"' not in sources()} == set()
