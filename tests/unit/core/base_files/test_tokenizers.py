"""Tokenizers of two base models are compared by their files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.base_files.tokenizers import difference, has_tokenizer

VOCABULARY = {"a": 0, "b": 1}
END = {"id": 2, "content": "<end>", "special": True}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a folder with a vocabulary, added tokens and a template."""

    def written(name: str, vocabulary: Any = VOCABULARY, added: Any = (END,), template: str = "x") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        content = {"added_tokens": list(added), "model": {"vocab": vocabulary}}
        (folder / "tokenizer.json").write_text(json.dumps(content))
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return written


def test_equal_tokens_and_templates_are_one_tokenizer_however_they_are_written(
    write: Callable[..., Path],
) -> None:
    one = write("one")
    assert has_tokenizer(one)
    assert difference(one, write("same")) is None
    assert difference(one, write("listed", [["a", -1.0], ["b", -2.0]])) is None
    assert difference(one, write("inside", {**VOCABULARY, "<end>": 2}, ())) is None


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"vocabulary": {"a": 1, "b": 0}}, "Their vocabularies differ."),
        ({"vocabulary": {"a": 0}}, "Their vocabularies differ."),
        ({"added": ()}, "Their vocabularies differ."),
        ({"template": "y"}, "Their chat templates differ."),
        ({"vocabulary": 7}, "have another form"),
    ],
)
def test_other_tokens_or_another_template_are_told(
    write: Callable[..., Path], other: dict[str, Any], says: str
) -> None:
    told = difference(write("one"), write("other", **other))
    assert told is not None
    assert says in told


def test_a_folder_without_the_file_has_none_to_compare(tmp_path: Path) -> None:
    assert not has_tokenizer(tmp_path)
