"""An import reads the base model that the catalog names now."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.catalog import SMOLLM2, BaseModelEntry
from core.settings import Settings
from worker.server import imports
from worker.server.imports import BaseFolder, Imports


def test_a_base_model_that_comes_from_elsewhere_now_is_found_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[BaseModelEntry] = []

    def ensure(entry: BaseModelEntry, _models: Path) -> BaseFolder:
        found.append(entry)
        return Path(f"folder-{len(found)}"), entry.sha256 or ""

    monkeypatch.setattr(imports, "_ensure_model", ensure)
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"license": "MIT"},
        {"revision": "v2"},
        {"path": Path("elsewhere")},
        {"sha256": "0" * 64},
    )

    async def folders() -> list[str]:
        settings = Settings(s3_endpoint_url="http://127.0.0.1:9", s3_bucket="none")
        served = Imports(settings)
        return [(await served._base(SMOLLM2.model_copy(update=change)))[0].name for change in changes]

    expected = ["folder-1", "folder-1", "folder-2", "folder-3", "folder-4"]
    assert asyncio.run(folders()) == expected
