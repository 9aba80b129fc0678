"""People sign on by a real OpenID provider: what they may then do, and when that ends."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from api.admission.seats import Person, take_seats
from core.ids import new_id
from core.roles import Role
from core.tables import ApiKey, Seat
from tests.fixtures.outside.openid import SECRET, OpenIdProvider, openid_provider, settings_of, walk
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, refusal, running_api

OWN = {"x-tunery-dashboard": "1", "sec-fetch-site": "same-origin"}
GROUPS = {
    "researchers": {"research": Role.MEMBER},
    "leads": {"research": Role.ADMIN, "products": Role.READ_ONLY},
}
ADA = {"email": "ada@example.com", "email_verified": True, "groups": ["researchers", "chess"]}
GRACE = {"email": "grace@example.com", "email_verified": True, "groups": ["leads"]}
EVE = {"email": "eve@example.com", "email_verified": True, "groups": ["chess"]}
PEOPLE: dict[str, dict[str, Any]] = {"ada": ADA, "grace": GRACE, "eve": EVE}


@contextmanager
def signing_on(api: Api, in_userinfo: bool = False, **changed: Any) -> Iterator[tuple[Api, OpenIdProvider]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with openid_provider(url, PEOPLE, in_userinfo=in_userinfo) as provider:
        update = settings_of(provider, url, sign_on_groups=GROUPS, **changed)
        with running_api(api.settings.model_copy(update=update), api.sessions, port) as ours:
            yield ours, provider


@pytest.fixture(scope="module")
def pair(api: Api) -> Iterator[tuple[Api, OpenIdProvider]]:
    with signing_on(api) as pair:
        yield pair


@pytest.fixture
def ours(pair: tuple[Api, OpenIdProvider]) -> Iterator[Api]:
    yield pair[0]
    pair[1].set_people(PEOPLE)


@pytest.fixture
def provider(pair: tuple[Api, OpenIdProvider]) -> OpenIdProvider:
    return pair[1]


@contextmanager
def browser(ours: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ours.url, headers=OWN, timeout=30) as client:
        yield client


@contextmanager
def signed_on(ours: Api, name: str, start: str = "/v1/sign_on") -> Iterator[httpx.Client]:
    with browser(ours) as client:
        answer = walk(client, start, name)
        assert answer.status_code == 303, answer.text
        assert "problem" not in answer.headers["location"], answer.headers["location"]
        yield client


def problem_of(answer: httpx.Response) -> str:
    """Return the problem of which the sign-in page tells."""
    assert answer.status_code == 303, answer.text
    address = urlsplit(answer.headers["location"])
    assert address.path == "/sign-in"
    return parse_qs(address.query)["problem"][0]


def test_a_person_signs_on_and_works_in_the_project_of_their_group(ours: Api) -> None:
    with signed_on(ours, "ada") as ada:
        session = ada.get("/v1/session").json()
        assert (session["project"]["name"], session["role"]) == ("research", "member")
        assert session["key_name"] == "ada@example.com"
        assert [project["name"] for project in session["sign_on_projects"]] == ["research"]
        hours = (session["expires_at"] - datetime.now(UTC).timestamp()) / 3600
        assert 7.9 < hours <= 8.01
        assert ada.post("/v1/uploads", json=AN_UPLOAD).status_code == 200
        refusal(ada.get("/v1/organization/audit_logs"), 403)


AN_UPLOAD = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/jsonl"}


def test_the_way_back_leads_to_the_page_that_was_asked_for_and_is_kept_nowhere(ours: Api) -> None:
    with browser(ours) as client:
        answer = walk(client, "/v1/sign_on?next=/jobs%3Fstatus=failed", "ada")
        assert answer.headers["location"] == f"{ours.url}/jobs?status=failed"
        assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == (
            "no-store",
            "no-referrer",
        )
        assert "tunery_sign_on" not in client.cookies
        session = [
            each for each in answer.headers.get_list("set-cookie") if each.startswith("tunery_session=")
        ]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(session[0].split("; "))


def test_the_highest_role_of_all_groups_counts_and_a_person_chooses_among_projects(ours: Api) -> None:
    with ExitStack() as stack:
        grace = stack.enter_context(signed_on(ours, "grace"))
        assert grace.get("/v1/session").json()["role"] == "admin"
        walk(grace, "/v1/sign_on?project=products", "grace")
        session = grace.get("/v1/session").json()
        assert (session["project"]["name"], session["role"]) == ("products", "read-only")
        assert [project["name"] for project in session["sign_on_projects"]] == ["products", "research"]
        refusal(grace.post("/v1/uploads", json=AN_UPLOAD), 403)
        walk(grace, "/v1/sign_on", "grace")
        assert grace.get("/v1/session").json()["project"]["name"] == "products", "the one chosen last"
        walk(grace, "/v1/sign_on?project=research", "grace")
        ada = stack.enter_context(browser(ours))
        assert problem_of(walk(ada, "/v1/sign_on?project=products", "ada")) == "sign_on_without_project"
        refusal(ada.get("/v1/session"), 401)


def test_another_site_chooses_no_project_for_a_person(ours: Api) -> None:
    with signed_on(ours, "grace", "/v1/sign_on?project=research") as grace:
        for site in ("cross-site", "same-site", "none"):
            grace.headers["sec-fetch-site"] = site
            walk(grace, "/v1/sign_on?project=products", "grace")
            grace.headers["sec-fetch-site"] = "same-origin"
            assert grace.get("/v1/session").json()["project"]["name"] == "research"


def test_a_person_gets_no_link_and_their_sign_out_ends_all_of_their_sessions(ours: Api) -> None:
    """Otherwise, who has stolen a session could keep it."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(signed_on(ours, "grace")) for _ in range(2))
        ada = stack.enter_context(signed_on(ours, "ada"))
        refusal(second.post("/v1/session/links"), 403, None, "sign_on_only")
        walk(second, "/v1/sign_on?project=products", "grace")
        assert first.delete("/v1/session").status_code == 204
        for client in (first, second):
            refusal(client.get("/v1/session"), 401)
        assert ada.get("/v1/session").is_success
        walk(first, "/v1/sign_on?project=research", "grace")


def test_a_new_project_of_two_people_who_come_at_once_is_made_once(ours: Api) -> None:
    names = [new_id("new-") for _ in range(3)]
    roles = dict.fromkeys(names, Role.MEMBER)

    def come(subject: str, order: int) -> set[str]:
        person = Person("https://login.example.com", subject, subject, ())
        with ours.sessions.begin() as session:
            mine = dict(list(roles.items())[::order])
            seats = take_seats(session, person, mine, timedelta(hours=1), "req_1")
            return {seat.project_id for seat in seats.values()}

    with ThreadPoolExecutor(8) as pool:
        coming = [pool.submit(come, new_id("p-"), order) for order in (1, -1) * 4]
        assert len({frozenset(each.result()) for each in coming}) == 1


def test_nobody_without_a_mapped_group_gets_in(ours: Api) -> None:
    with browser(ours) as client:
        code = problem_of(walk(client, "/v1/sign_on", "eve"))
        assert code == "sign_on_without_group"
        told = client.get("/v1/sign_in", params={"problem": code}).json()["problem"]
        assert "none of your groups may use this service" in told
        refusal(client.get("/v1/session"), 401)
    with ours.sessions() as session:
        assert session.scalars(select(Seat).where(Seat.subject == "eve")).all() == []


def test_a_person_who_has_left_a_group_loses_the_role_and_the_seat(
    ours: Api, provider: OpenIdProvider
) -> None:
    with ExitStack() as stack:
        at_work, at_home = (stack.enter_context(signed_on(ours, "grace")) for _ in range(2))
        provider.set_people({**PEOPLE, "grace": {**GRACE, "groups": ["researchers"]}})
        walk(at_home, "/v1/sign_on", "grace")
        for session in (client.get("/v1/session").json() for client in (at_work, at_home)):
            assert (session["role"], len(session["sign_on_projects"])) == ("member", 1)
        provider.set_people({**PEOPLE, "grace": {**GRACE, "groups": []}})
        assert problem_of(walk(at_home, "/v1/sign_on", "grace")) == "sign_on_without_group"
        for client in (at_work, at_home):
            refusal(client.get("/v1/session"), 401)
        provider.set_people(PEOPLE)
        walk(at_home, "/v1/sign_on", "grace")
        assert at_home.get("/v1/session").json()["role"] == "admin"
        refusal(at_work.get("/v1/session"), 401)


def test_the_audit_log_names_the_person(ours: Api) -> None:
    with ExitStack() as stack:
        ada, grace = (stack.enter_context(signed_on(ours, name)) for name in ("ada", "grace"))
        upload = ada.post("/v1/uploads", json=AN_UPLOAD).json()["id"]
        ada.post(f"/v1/uploads/{upload}/cancel")
        log = grace.get("/v1/organization/audit_logs", params={"limit": 100}).json()["data"]
    people = {
        entry["actor"]["api_key"]["id"]: (entry["details"]["subject"], entry["details"]["name"])
        for entry in log
        if entry["type"] == "session.begun"
    }
    assert set(people.values()) == {("ada", "ada@example.com"), ("grace", "grace@example.com")}
    assert {tuple(entry["details"]["groups"]) for entry in log if entry["type"] == "session.begun"} == {
        ("researchers",),
        ("leads",),
    }
    of_seats = [entry for entry in log if entry["resource_id"] in people and "api_key." in entry["type"]]
    assert {entry["actor"]["type"] for entry in of_seats} == {"operator"}
    assert all(entry["request_id"] for entry in of_seats)
    cancelled = next(entry for entry in log if entry["resource_id"] == upload)
    assert people[cancelled["actor"]["api_key"]["id"]][0] == "ada"


def test_an_administrator_can_end_the_sessions_of_a_person_at_once(ours: Api) -> None:
    with ExitStack() as stack:
        ada, grace = (stack.enter_context(signed_on(ours, name)) for name in ("ada", "grace"))
        project = grace.get("/v1/session").json()["project"]["id"]
        path = f"/v1/organization/projects/{project}/api_keys"
        keys = grace.get(path).json()["data"]
        seat = next(key for key in keys if key["name"] == "ada@example.com")
        assert seat["owner"] == {"type": "user", "user": {"id": "ada", "name": "ada@example.com"}}
        made = grace.post(path, json={"name": "made by grace"}).json()
        grace_seat = next(key for key in keys if key["name"] == "grace@example.com")
        assert (made["owner"], made["created_by"]) == ({}, grace_seat["id"])
        assert grace.delete(f"{path}/{seat['id']}").is_success
        refusal(ada.get("/v1/session"), 401)
        walk(ada, "/v1/sign_on", "ada")
        assert ada.get("/v1/session").is_success


def test_nobody_holds_the_key_of_a_seat(ours: Api) -> None:
    with signed_on(ours, "ada") as ada:
        project = ada.get("/v1/session").json()["project"]["id"]
    with ours.sessions() as session:
        keys = session.scalars(select(ApiKey).join(Seat).where(Seat.project_id == project)).all()
        assert all(key.expires_at is not None for key in keys)
        values = {key.sha256 for key in keys}
    assert len(values) == len(keys)


def test_signing_out_also_leads_to_the_end_of_the_providers_session(
    ours: Api, provider: OpenIdProvider
) -> None:
    with signed_on(ours, "ada") as ada:
        assert ada.delete("/v1/session").status_code == 204
        refusal(ada.get("/v1/session"), 401)
        answer = ada.get("/v1/sign_on/end")
        address = urlsplit(answer.headers["location"])
        assert f"{address.scheme}://{address.netloc}" == provider.issuer
        asked = parse_qs(address.query)
        assert asked == {"client_id": ["tunery"], "post_logout_redirect_uri": [f"{ours.url}/sign-in"]}
        assert ada.get(answer.headers["location"]).status_code == 200


def test_a_session_ends_by_itself_and_the_groups_are_read_again(api: Api) -> None:
    with (
        signing_on(api, in_userinfo=True, sign_on_hours=3 / 3600) as (ours, _),
        signed_on(ours, "ada") as ada,
    ):
        from tests.fixtures.service.api import wait_for

        assert ada.get("/v1/session").json()["role"] == "member"
        wait_for(lambda: ada.get("/v1/session").status_code == 401)
        refusal(ada.get("/v1/session"), 401, None, "session_ended")
        walk(ada, "/v1/sign_on", "ada")
        assert ada.get("/v1/session").is_success


def test_keys_begin_no_session_where_people_have_to_sign_on(api: Api) -> None:
    tenant = api.tenant()
    update = settings_of("http://127.0.0.1:9", "http://127.0.0.1:8", sign_on_groups=GROUPS, sign_on_only=True)
    with api.beside(**update) as ours, browser(ours) as client:
        assert client.get("/v1/sign_in").json() == {
            "object": "sign_in.ways",
            "by_key": False,
            "sign_on": "Example",
            "problem": None,
        }
        refusal(client.post("/v1/sign_in", json={"api_key": tenant.key}), 403, None, "sign_on_only")
        bearer = {"authorization": f"Bearer {tenant.key}"}
        refusal(client.post("/v1/session/links", headers=bearer), 403, None, "sign_on_only")
        refusal(client.post("/v1/sign_in/link", json={"link": "tnl_1"}), 403, None, "sign_on_only")
        with browser(api) as before:  # begun before people had to sign on
            assert before.post("/v1/sign_in", json={"api_key": tenant.key}).is_success
            client.cookies.update(before.cookies)
        refusal(client.get("/v1/session"), 401, None, "session_ended")
        assert client.get("/v1/files", headers={"authorization": f"Bearer {tenant.key}"}).is_success


def test_without_a_provider_there_is_no_sign_on(api: Api) -> None:
    with browser(api) as client:
        ways = client.get("/v1/sign_in").json()
        assert (ways["by_key"], ways["sign_on"]) == (True, None)
        for path in ("/v1/sign_on", "/v1/sign_on/callback", "/v1/sign_on/end"):
            answer = client.get(path)
            refusal(answer, 404, None, "sign_on_not_configured")
            assert answer.headers["cache-control"] == "no-store"


def test_a_person_whose_address_is_wrong_sees_a_page_and_no_json(ours: Api) -> None:
    with browser(ours) as client:
        for path in ("/v1/sign_on?next=//evil.example.com", "/v1/sign_on?project=no%20name"):
            assert problem_of(client.get(path, headers={"accept": "text/html"})) == "sign_on_stale"


def test_no_secret_of_a_sign_on_is_written_to_the_log(ours: Api) -> None:
    with capture_logs() as lines, browser(ours) as client:
        answer = walk(client, "/v1/sign_on", "ada")
        query = parse_qs(urlsplit(str(answer.request.url)).query)
        client.get(str(answer.request.url))
    written = str(lines)
    assert len(lines) > 2
    for secret in (SECRET, query["code"][0], query["state"][0], client.cookies["tunery_session"]):
        assert secret not in written
