"""The graph on an adapter's page: what came before the adapter, and what came after it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.pages import in_both_themes
from tests.fixtures.service.site import PHONE, Site
from tests.fixtures.work.compositions import composed
from tests.fixtures.work.exporting import finish_export
from tests.fixtures.work.imports import imported_at_once


def graph_of(page: Page) -> Locator:
    return page.get_by_role("region", name="Lineage graph")


def trained(site: Site, **body: Any) -> dict[str, Any]:
    """Train a job of few steps, and return it."""
    job_id = site.create_job(epochs=1, **body)
    site.finish(job_id)
    return site.tenant.job(job_id)


SEEN_IN = """(inner, box) => {
    const [place, frame] = [inner.getBoundingClientRect(), box.getBoundingClientRect()];
    return frame.left <= place.left && place.right <= frame.right
        && frame.top <= place.top && place.bottom <= frame.bottom;
}"""


def seen_in(box: Locator, inner: Locator) -> bool:
    """Return whether an element is in the part of a box that is not scrolled out of sight."""
    return bool(inner.evaluate(SEEN_IN, box.element_handle()))


@pytest.mark.exhaustive
def test_a_composed_adapter_s_graph_has_each_parent_once_and_names_what_was_made(
    site: Site, page: Page, tmp_path: Path, adapter_folder: Path
) -> None:
    first = trained(site, suffix="first")
    second = trained(site, suffix="second", model=first["fine_tuned_model"])
    third, third_model = imported_at_once(site.api, site.tenant, tmp_path)
    weights = {first["adapter_id"]: 0.5, second["adapter_id"]: -0.25, third: 2.0}
    both = composed(site.api, site.tenant, weights, suffix="both")
    child = trained(site, suffix="child", model=both["fine_tuned_model"])
    at = f"/v1/adapters/{both['adapter_id']}"
    export = site.tenant.http.post(f"{at}/exports", json={"format": "lora"}).json()
    finish_export(site.api, adapter_folder, export["id"])

    page.goto(f"/adapters/{both['adapter_id']}")
    graph = graph_of(page)
    names = {each["adapter_id"]: each["fine_tuned_model"] for each in (first, second, both, child)}
    names |= {third: third_model, "export": "Plain LoRA (PEFT, vLLM, SGLang)"}
    name = names[both["adapter_id"]]
    origins = {
        first["adapter_id"]: f"trained from {TINY}",
        second["adapter_id"]: f"continued from {names[first['adapter_id']]}",
        third: f"imported from {TINY}",
        both["adapter_id"]: f"composed from {names[first['adapter_id']]} × 0.5000, "
        f"{names[second['adapter_id']]} × -0.2500, {third_model} × 2.000",
        child["adapter_id"]: f"continued from {name}",
        "export": f"exported from {name}",
    }
    for node, origin in origins.items():
        item = graph.locator(f'[data-node^="{node}"]')
        expect(item).to_have_count(1)
        expect(item).to_contain_text(names[node])
        expect(item).to_contain_text(origin)
    expect(graph.get_by_role("listitem")).to_have_count(len(origins) + 1)
    expect(graph.get_by_role("listitem").first).to_contain_text("base model")
    expect(graph.locator("[aria-current=true]")).to_contain_text(both["fine_tuned_model"])
    made = "trained", "imported", "continued", "continued", "exported"
    weighted = "composed × 0.5000", "composed × -0.2500", "composed × 2.000"
    shown = graph.locator("svg text")
    wait_for(lambda: sorted(shown.all_text_contents()) == sorted((*made, *weighted)))
    found = in_both_themes(page)

    page.set_viewport_size(PHONE)
    page.reload()
    last = graph.locator(f'[data-node="{child["adapter_id"]}"]').get_by_role("link")
    expect(last).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert graph.evaluate("box => box.scrollWidth > box.clientWidth")
    wait_for(lambda: seen_in(graph, graph.locator("[aria-current=true]")))
    found += in_both_themes(page)

    graph.focus()
    page.keyboard.press("Tab")
    expect(graph.get_by_role("link").first).to_be_focused()
    wait_for(lambda: seen_in(graph, graph.get_by_role("link").first))  # the keyboard's place stays in sight
    last.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(child["fine_tuned_model"])
    expect(graph.locator("[aria-current=true]")).to_contain_text(child["fine_tuned_model"])
    assert found == []
