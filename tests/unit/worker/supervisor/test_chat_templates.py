"""The chat templates of base models, as a worker finds them on its disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.base_files.gguf import text_in
from core.catalog import SMOLLM2, BaseModelEntry
from core.datasets.template_needs import needs_served
from tests.fixtures.rows.tool_rows import HEADER_TEMPLATE, TAGGED_TEMPLATE
from worker.supervisor.chat_templates import template_of


def entry(**fields: Any) -> BaseModelEntry:
    known = {"id": "m", "repository": "x/y", "revision": "1", "license": "MIT", "max_length": 64}
    return BaseModelEntry.model_validate({**known, **fields})


def test_the_model_that_ships_with_tunery_is_known_before_it_is_converted(tmp_path: Path) -> None:
    template = template_of(SMOLLM2, tmp_path)
    assert isinstance(template, str)
    assert "<|im_start|>" in template
    assert needs_served(template) == []


@pytest.mark.parametrize(
    ("config", "files", "places"),
    [
        ({}, {}, []),
        ({"chat_template": TAGGED_TEMPLATE}, {}, ["tools", "reasoning_content"]),
        ({}, {"chat_template.jinja": HEADER_TEMPLATE}, ["tools"]),
        ({"chat_template": TAGGED_TEMPLATE}, {"chat_template.jinja": "{{ messages }}"}, []),
        ({"chat_template": [{"name": "tool_use", "template": HEADER_TEMPLATE}]}, {}, ["tools"]),
        ({}, {"additional_chat_templates/tool_use.jinja": HEADER_TEMPLATE}, ["tools"]),
    ],
)
def test_a_folder_has_its_template_in_one_of_several_places(
    tmp_path: Path, config: dict[str, Any], files: dict[str, str], places: list[str]
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    template = template_of(entry(source="folder", path=tmp_path), tmp_path)
    assert template is not None
    assert needs_served(template) == places


def test_a_model_of_the_hub_is_known_once_it_is_in_the_store(tmp_path: Path) -> None:
    of_hub = entry(source="hub")
    assert template_of(of_hub, tmp_path) is None
    folder = tmp_path / "m/1"
    folder.mkdir(parents=True)
    (folder / "tokenizer_config.json").write_text("{")
    assert template_of(of_hub, tmp_path) is None
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": HEADER_TEMPLATE}))
    assert template_of(of_hub, tmp_path) == {"default": HEADER_TEMPLATE}


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 40, b"PK\x03\x04" + b"\0" * 40])
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"GGUF|too early|bytes|unknown"):
        text_in(path, "tokenizer.chat_template")
