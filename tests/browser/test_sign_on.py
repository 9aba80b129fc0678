"""A person signs on from the dashboard's page, by a real OpenID provider, and signs out at both."""

import pytest
from playwright.sync_api import Browser, expect

from core.roles import Role
from tests.fixtures.outside.openid import openid_provider, settings_of
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, running_api
from tests.fixtures.service.site import browsing, watched

GROUPS = {"team": {"research": Role.MEMBER, "products": Role.READ_ONLY}}
PEOPLE = {"ada": {"email": "ada@example.com", "groups": ["team"]}, "eve": {"groups": []}}
NO_SESSION = "Failed to load resource: the server responded with a status of 401"
NO_ICON = "Failed to load resource: the server responded with a status of 404"  # of the same page
NO_FONTS = "Failed to load resource: net::ERR_"  # of the provider's page, from another host


@pytest.mark.exhaustive
def test_a_person_signs_on_chooses_a_project_and_signs_out(api: Api, browser: Browser) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with openid_provider(url, PEOPLE) as provider:
        update = settings_of(provider, url, sign_on_groups=GROUPS, sign_on_only=True)
        with (
            running_api(api.settings.model_copy(update=update), api.sessions, port),
            browsing(browser, url) as context,
            watched(context) as visit,
        ):
            page = visit.page
            visit.allow(NO_SESSION, NO_FONTS, NO_ICON)
            page.goto("/files")
            expect(page.get_by_label("API key")).to_have_count(0)
            page.get_by_role("link", name="Sign in with Example").click()
            page.get_by_placeholder("Enter any login").fill("ada")
            page.get_by_placeholder("and password").fill("x")
            page.get_by_role("button", name="Sign-in").click()
            expect(page.get_by_role("heading", name="Files", level=1)).to_be_visible()
            choice = page.get_by_role("combobox", name="Project")
            expect(choice).to_have_value("research")
            choice.select_option("products")  # the provider knows the browser, so it asks for nothing
            expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
            expect(choice).to_have_value("products")
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("button", name="Yes, sign me out").click()  # at the provider
            page.get_by_role("link", name="Sign in with Example").click()
            page.get_by_placeholder("Enter any login").fill("eve")
            page.get_by_placeholder("and password").fill("x")
            page.get_by_role("button", name="Sign-in").click()
            expect(page.get_by_text("none of your groups may use this service")).to_be_visible()
