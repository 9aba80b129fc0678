"""The documents keep up with the code, and their links lead somewhere."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import typer

from api.document import openapi_document
from cli.client import errors as cli_errors
from cli.main import app, exit_code
from core.catalog import load_catalog
from core.errors import ConfigurationError
from core.estimates.expected_path import FAST_TYPES
from core.methods.not_offered import NOT_OFFERED
from core.methods.registry import METHODS
from tests.fixtures.paths import REPOSITORY

PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
CLI_PAGE = (REPOSITORY / "docs/reference/cli.md").read_text()
OF_LLAMA_ARCHITECTURE = {f"HuggingFaceTB/SmolLM2-{size}-Instruct" for size in ("135M", "360M", "1.7B")}
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def commands() -> Iterator[tuple[str, ...]]:
    """Every command of `tunery`, as the words that a user types after it."""
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        yield from ((name, below) for below in inner) if inner else ((name,),)


def finding_codes() -> set[str]:
    """Return every constant `code` of a Finding, of an UnreadableLine or of an UnusableImage."""
    places = {"Finding": 1, "UnreadableLine": 0, "UnusableImage": 0}
    found = set()
    folders = ("core/datasets", "core/images", "api/files")
    for source in (file for folder in folders for file in (REPOSITORY / folder).glob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places:
                code = node.args[places[node.func.id]]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
    return found


def fast_families() -> set[str]:
    """Return the names of the families of models that take the fast path, such as qwen."""
    return {re.split(r"\d|_|moe", kind)[0] for kind in FAST_TYPES}


def test_no_more_tests_reach_into_the_product_than_the_page_on_tests_says() -> None:
    """The page says what has no other way. Whoever needs one more says it there."""
    sources = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    patches = re.findall(r"monkeypatch\.setattr\(", sources)
    private = re.findall(r"\b(?!self\b|cls\b)[a-z_]+\._(?!asdict|replace)[a-z]", sources)
    page = (REPOSITORY / "docs/testing.md").read_text()
    (most,) = re.findall(r"At most (\d+) calls of `monkeypatch.setattr` and (\d+) accesses", page)
    assert len(patches) <= int(most[0])
    assert len(private) <= int(most[1])


def test_the_page_of_settings_is_what_the_code_says() -> None:
    check = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert check.returncode == 0, check.stderr


def test_the_page_of_routes_has_every_route_and_every_shape_that_it_links_to() -> None:
    document = openapi_document()
    text = runpy.run_path(str(REPOSITORY / "docs/api_page.py"))["api_page"](document)
    paths = document["paths"].items()
    routes = {f"{method.upper()} {path}" for path, methods in paths for method in methods}
    assert set(re.findall(r"^### `(\w+ \S+)`$", text, re.MULTILINE)) == routes
    shapes = {name.lower() for name in re.findall(r"^### ([\w-]+)$", text, re.MULTILINE)}
    assert shapes >= set(re.findall(r"\]\(#([^)]+)\)", text)) >= {"errorbody"}


def test_the_page_of_settings_gives_bytes_in_mebibytes_and_leaves_other_numbers_as_they_are() -> None:
    page = (REPOSITORY / "docs/reference/settings.md").read_text()
    defaults = re.findall(r"^\| `TUNERY_(\w+)` \| `(\d{7,})`( \(\d+ MiB\))? \|", page, re.MULTILINE)
    assert {name.endswith("_BYTES") for name, _, _ in defaults} == {True, False}
    assert all(bool(shown) == name.endswith("_BYTES") for name, _, shown in defaults)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_table_begins_with_its_head(page: Path) -> None:
    for block in page.read_text().split("\n\n"):
        lines = block.strip("\n").splitlines()
        if len(lines) > 1 and all(line.startswith("|") for line in lines):
            assert re.fullmatch(r"\|([ :-]+\|)+", lines[1]), f"{page}: {lines[0]}"


def test_the_page_of_datasets_lists_every_finding_and_no_other() -> None:
    page = (REPOSITORY / "docs/datasets.md").read_text()
    section = page.partition("\n## Findings\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(finding_codes())


def test_the_page_of_methods_lists_what_is_on_offer_and_no_other() -> None:
    page = (REPOSITORY / "docs/methods.md").read_text().partition("\n## On offer\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert listed.keys() == METHODS.keys()
    for name, method in METHODS.items():
        told = set(re.findall(r"`(\w+)`", listed[name]))
        for option, schema in method.options.model_json_schema()["properties"].items():
            assert (option in told) == may_differ(schema), f"{name}.{option}"


def may_differ(schema: Mapping[str, object]) -> bool:
    """Return whether an option of this schema may have another value than its default."""
    only = "const" in schema or schema.get("type") == "null"
    ends = {schema.get(bound, bound) for bound in ("minimum", "maximum")}
    return not only and len(ends) == 2


def test_the_page_of_methods_lists_the_methods_that_are_not_offered_with_the_reasons() -> None:
    page = (REPOSITORY / "docs/methods.md").read_text().partition("\n## Left out\n")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)) == NOT_OFFERED


@pytest.mark.parametrize("where", ["core/catalog.py", "docs/how-to/add-a-base-model.md"])
def test_an_example_of_a_catalog_can_be_read_and_says_what_trains_fastest(where: str, tmp_path: Path) -> None:
    page = (REPOSITORY / where).read_text()
    text = textwrap.dedent((ast.get_docstring(ast.parse(page)) or "") if where.endswith(".py") else page)
    example = re.search(r"^( *)\[\[model\]\]\n(?:.+\n|\n(?=\1\[\[))*", text, re.MULTILINE)
    assert example
    file = tmp_path / "catalog.toml"
    file.write_text(textwrap.dedent(example[0]).partition("```")[0])
    for entry in load_catalog(file):
        assert entry.repository in OF_LLAMA_ARCHITECTURE
    families = fast_families()
    assert {"gemma", "llama", "qwen"} < families
    assert all(family in page.lower() for family in families)


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_has_json(command: tuple[str, ...]) -> None:
    found = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]  # type: ignore[attr-defined]
    assert any("--json" in parameter.opts for parameter in found.params)


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_the_page_of_the_command_line_has_every_command(command: tuple[str, ...]) -> None:
    head, *below = command
    rows = [line.split("|")[1] for line in CLI_PAGE.splitlines() if line.startswith(f"| `tunery {head}")]
    assert any(set(below) <= set(re.findall(r"[a-z]+", row)) for row in rows)


def written_commands(page: Path) -> Iterator[list[str]]:
    """Return the words of each `tunery …` line in the page's blocks of shell code."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\w+=\S+ )*(?:\.venv/bin/)?tunery ([^|>]+)", line)
            if found:
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_command_in_a_page_has_the_options_that_the_page_gives_it(page: Path) -> None:
    for words in written_commands(page):
        command, left = typer.main.get_command(app), list(words)
        while (inner := getattr(command, "commands", None)) and left:
            assert left[0] in inner, f"{page.name}: tunery {' '.join(words)}"
            command = inner[left.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        given = {word for word in left if re.fullmatch(r"--?[a-z][\w-]*", word)}
        assert given <= known | {"--help", "-h"}, f"{page.name}: tunery {' '.join(words)}"


def test_the_page_of_the_command_line_has_every_exit_code() -> None:
    errors = [error for error in vars(cli_errors).values() if hasattr(error, "exit_code")]
    codes = {0, 130, exit_code(ConfigurationError("")), *(error.exit_code for error in errors)}
    listed = re.findall(r"^\| (\d+) \|", CLI_PAGE, re.MULTILINE)
    assert sorted(map(int, listed)) == sorted(codes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_link_leads_to_something_that_exists(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing
