"""What administrators manage, and what others are told."""

import httpx
from playwright.sync_api import expect

from tests.fixtures.service.site import Site, administered


def is_taken(site: Site, key: str) -> bool:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{site.api.url}/v1/files", headers=headers, timeout=60).status_code == 200


def test_a_key_is_shown_once_and_signs_out_where_it_is_revoked(site: Site) -> None:
    with administered(site).visit() as admin, site.visit(signed_in=False) as other:
        other.allow("Failed to load resource: the server responded with a status of 401")
        page = admin.page
        page.goto("/settings")
        page.get_by_label("Name").fill("notebook")
        page.get_by_label("Expires").select_option("in 7 days")
        page.get_by_role("button", name="Create key").click()
        dialog = page.get_by_role("dialog", name="The new key")
        key = dialog.get_by_role("region", name="The new key").inner_text().strip()
        assert is_taken(site, key)
        dialog.get_by_role("button", name="I have copied it").click()
        expect(dialog).to_have_count(0)
        row = page.get_by_role("row").filter(has_text="notebook")
        expect(row).to_contain_text("member")
        assert key not in page.content()
        page.reload()
        expect(row).to_be_visible()
        assert key not in page.content()

        other.page.goto("/jobs")
        other.page.get_by_label("API key").fill(key)
        other.page.get_by_role("button", name="Sign in").click()
        expect(other.page.get_by_role("heading", name="No job yet")).to_be_visible()
        row.get_by_role("button", name="Revoke").click()
        page.get_by_role("dialog", name="Revoke this key?").get_by_role("button", name="Revoke key").click()
        expect(row).to_have_count(0)
        assert not is_taken(site, key)
        expect(other.page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(other.page.get_by_text("revoked")).to_be_visible()

        page.get_by_role("link", name="Audit log").click()
        expect(page.get_by_role("table")).to_contain_text("api key deleted")
