"""What administrators manage, and what others are told."""

from dataclasses import replace

import httpx
from playwright.sync_api import expect

from core.roles import Role
from tests.fixtures.service.site import OURS, Site, Visit, administered


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


def test_a_name_between_backticks_is_shown_as_code(site: Site) -> None:
    with administered(site).visit() as visit:
        page = visit.page
        page.goto("/settings")
        page.get_by_label("Name").fill("made by `tunery up`, not by `me")
        page.get_by_role("button", name="Create key").click()
        page.get_by_role("dialog").get_by_role("button", name="I have copied it").click()
        row = page.get_by_role("row").filter(has_text="made by")
        expect(row.locator("code")).to_have_text("tunery up")
        expect(row).to_contain_text("made by tunery up, not by `me")


def test_secrets_are_set_and_never_shown(site: Site) -> None:
    with administered(site).visit() as visit:
        page = visit.page
        page.goto("/settings?part=secrets")
        page.get_by_label("Name").fill("WANDB_API_KEY")
        page.get_by_label("Value").fill("very-secret")
        page.get_by_role("button", name="Set secret").click()
        expect(page.get_by_role("table")).to_contain_text("WANDB_API_KEY")
        expect(page.get_by_label("Value")).to_have_value("")
        page.reload()
        expect(page.get_by_role("table")).to_contain_text("WANDB_API_KEY")
        assert "very-secret" not in page.content()
        page.get_by_role("button", name="Delete WANDB_API_KEY").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete secret").click()
        expect(page.get_by_text("No secret.")).to_be_visible()


def test_what_a_key_may_not_do_is_not_offered(site: Site, visit: Visit) -> None:
    page = visit.page
    page.goto("/settings")
    expect(page.get_by_text("for administrators of the project")).to_be_visible()
    expect(page.get_by_role("button", name="Create key")).to_have_count(0)

    file_id = site.tenant.upload()
    reader = replace(site, tenant=site.api.tenant(site.tenant.project, Role.READ_ONLY))
    with reader.visit() as reading:
        reading.page.goto(f"/files/{file_id}")
        expect(reading.page.get_by_role("link", name="Download")).to_be_visible()
        expect(reading.page.get_by_role("button", name="Delete")).to_have_count(0)
        reading.page.goto("/new")
        expect(reading.page.get_by_role("button", name="Create job")).to_be_disabled()
        answer = reading.page.request.delete(f"/v1/files/{file_id}", headers=OURS)
        assert answer.status == 403
