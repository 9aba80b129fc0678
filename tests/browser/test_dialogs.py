"""How dialogs are left, with what a phone has, and where the focus is then; and the navigation of a phone."""

from playwright.sync_api import Page, expect

from tests.fixtures.service.pages import TOUCH, HeldBack, queued, settled
from tests.fixtures.service.site import PHONE, Site


def test_one_is_left_by_its_button_or_beside_it_and_the_focus_goes_back(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/jobs")
    opener = page.get_by_role("button", name="Go to")
    dialog = page.get_by_role("dialog", name="Go to")
    opener.click()
    close = dialog.get_by_role("button", name="Close")
    box = close.bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= TOUCH
    close.click()
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()

    opener.click()
    field = dialog.get_by_role("combobox").bounding_box()
    assert field
    page.mouse.move(field["x"] + 20, field["y"] + 10)
    page.mouse.down()
    page.mouse.move(2, PHONE["height"] - 2)
    page.mouse.up()  # what is marked in it may end beside it
    expect(dialog).to_be_visible()
    page.mouse.click(2, PHONE["height"] - 2)
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()

    opener.click()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()


def test_a_deletion_of_many_stays_until_its_outcomes_are_there(site: Site, page: Page) -> None:
    job_id = queued(site, "useless")
    site.tenant.http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    queued(site, "useful")
    held = HeldBack(page, "**/v1/fine_tuning/jobs/*", "DELETE")
    page.goto("/jobs")
    page.get_by_label("Select useless").check()
    page.get_by_role("button", name="Delete 1").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete 1 job").click()
    expect(dialog).to_contain_text("Deleting…")
    for _ in range(3):
        page.keyboard.press("Escape")
    page.mouse.click(2, 2)
    expect(dialog).to_contain_text("Deleting…")
    expect(dialog.get_by_role("button", name="Close")).to_have_count(0)
    held.release()
    expect(dialog).to_contain_text("1 of 1 job deleted")
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("link", name="useful")).to_be_visible()


def test_on_a_phone_the_name_of_the_page_ends_where_the_frame_does(page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto("/adapters")
    current = page.get_by_role("navigation", name="Pages").get_by_role("button")
    expect(current).to_contain_text("Adapters")
    settled(page)
    box, mark = current.bounding_box(), page.get_by_role("link", name="Tunery").bounding_box()
    assert box
    assert mark
    assert abs(PHONE["width"] - box["x"] - box["width"] - mark["x"]) < 1
    current.click()
    last = page.get_by_role("navigation", name="Pages").get_by_role("link", name="Docs")
    expect(last).to_be_in_viewport(ratio=1)
