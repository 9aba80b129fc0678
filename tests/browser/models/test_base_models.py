"""The operator adds a model of the hub in the dashboard, and takes it off again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.roles import Role
from tests.fixtures.models.tiny import TINY
from tests.fixtures.outside.hub_of_models import COMMIT, ModelHub, hub_with
from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.site import Site, Visit

NAME, ADDED = "example/Eight-Billion", "eight-billion"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ModelHub]:
    with hub_with(NAME, tmp_path / "published") as hub:
        yield hub


@pytest.fixture
def operator(site: Site) -> Iterator[Visit]:
    tenant = site.api.tenant("default", Role.ADMIN)
    with replace(site, tenant=tenant).visit() as visit:
        visit.page.goto("/settings")
        visit.page.get_by_role("link", name="Base models").click()
        yield visit
    tenant.http.delete(f"/v1/base_models/{ADDED}")  # where a test failed before it was removed


@pytest.mark.exhaustive
def test_a_model_of_the_hub_is_looked_at_added_offered_and_removed(
    site: Site, operator: Visit, hub: ModelHub
) -> None:
    page = operator.page
    rows = page.get_by_role("region", name="Base models on offer").get_by_role("row")
    expect(rows.filter(has_text=TINY).first).to_be_visible()
    before = rows.count()
    page.get_by_label("Name at the hub").fill(NAME)
    page.get_by_role("button", name="Look").click()
    found = page.get_by_role("region", name=f"What was found of {NAME}")
    for words in (COMMIT, "apache-2.0", "16.0 GiB to fetch", "Qwen3ForCausalLM, which takes the fast path"):
        expect(found).to_contain_text(words)
    card = found.get_by_role("row").filter(has_text="NVIDIA L4")
    expect(card.get_by_role("cell").nth(2)).to_have_text("fits, a little slower")
    expect(found.get_by_role("row").filter(has_text="a worker's")).to_have_count(1)
    expect(rows).to_have_count(before)
    assert in_both_themes(page) == []

    found.get_by_label("Id, which clients send as model").fill(ADDED)
    found.get_by_label("Most tokens of a row").fill("4096")
    found.get_by_role("button", name="Add to the catalog").click()
    expect(found).to_contain_text(f"{ADDED} is on offer now")
    expect(found).to_contain_text("catalog.toml")
    row = rows.filter(has_text=ADDED)
    expect(row).to_contain_text("4,096")
    assert in_both_themes(page) == []
    assert ADDED in [model.id for model in site.tenant.openai.models.list()]
    page.goto("/new")
    expect(page.get_by_role("option", name=ADDED)).to_have_count(1)

    page.goto("/settings?part=models")
    row.get_by_role("button", name=f"Check {ADDED} again").click()
    again = page.get_by_role("dialog", name=f"What the hub says of {ADDED}")
    expect(again).to_contain_text("Jobs can still train this model.")
    expect(again).to_contain_text("Qwen3ForCausalLM, which takes the fast path")
    assert in_both_themes(page) == []
    page.keyboard.press("Escape")
    row.get_by_role("button", name=f"Remove {ADDED}").click()
    expect(page.get_by_text("Jobs that still wait for it will fail")).to_be_visible()
    assert in_both_themes(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Remove model").click()
    expect(row).to_have_count(0)
    assert ADDED not in [model.id for model in site.tenant.openai.models.list()]
