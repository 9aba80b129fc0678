"""Browser sessions, which act for a key by a cookie: how they begin, what they may do, and how they end."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select, update

from core.access.keys import revoke_key
from core.roles import Role
from core.tables import SignIn
from tests.fixtures.service.api import Api, Tenant, refusal

OWN = {"x-tunery-dashboard": "1"}
OVER_TLS = {"x-forwarded-proto": "https"}  # a proxy on this machine has ended TLS


def browser(api: Api) -> httpx.Client:
    client = httpx.Client(base_url=api.url, headers=OWN, timeout=30)
    api.closing.append(client.close)
    return client


def signed_in(api: Api, tenant: Tenant) -> httpx.Client:
    client = browser(api)
    answer = client.post("/v1/sign_in", json={"api_key": tenant.key})
    assert answer.status_code == 200, answer.text
    return client


def link_of(tenant: Tenant) -> str:
    answer = tenant.http.post("/v1/session/links").json()
    path, _, secret = answer["path"].partition("#link=")
    assert path == "/sign-in"
    return str(secret)


def test_a_session_does_what_its_key_may(api: Api, alice: Tenant, bob: Tenant) -> None:
    client = signed_in(api, alice)
    job = alice.create_job()["id"]
    shown = client.get("/v1/session").json()
    assert (shown["project"]["name"], shown["role"]) == ("alice", "member")
    assert shown["expires_at"] > datetime.now(UTC).timestamp() + 6 * 86_400
    assert client.get(f"/v1/fine_tuning/jobs/{job}").json()["id"] == job
    assert client.post(f"/v1/fine_tuning/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert signed_in(api, bob).get(f"/v1/fine_tuning/jobs/{job}").status_code == 404
    refusal(client.get("/v1/secrets"), 403)


def test_its_cookie_is_out_of_reach_of_scripts_and_of_other_sites(api: Api, alice: Tenant) -> None:
    cookie = browser(api).post("/v1/sign_in", json={"api_key": alice.key}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert alice.key not in cookie


def test_over_tls_only_this_very_host_can_set_the_cookie(api: Api, alice: Tenant) -> None:
    """A browser refuses a cookie with the prefix `__Host-` from any other host, and without TLS."""
    set_cookie = browser(api).post("/v1/sign_in", json={"api_key": alice.key}, headers=OVER_TLS).headers
    cookie, *attributes = set_cookie["set-cookie"].split("; ")
    name, _, secret = cookie.partition("=")
    assert name == "__Host-tunery_session"
    assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert not any(attribute.startswith("Domain") for attribute in attributes)

    def session_by(cookie_name: str, **headers: str) -> httpx.Response:
        cookies = {cookie_name: secret}
        return httpx.get(f"{api.url}/v1/session", cookies=cookies, headers=headers)

    assert session_by(name, **OVER_TLS).is_success
    refusal(session_by("tunery_session", **OVER_TLS), 401)
    refusal(session_by(name), 401)
    left = httpx.delete(f"{api.url}/v1/session", cookies={name: secret}, headers=OWN | OVER_TLS)
    forgotten, *attributes = left.headers["set-cookie"].split("; ")
    assert forgotten.startswith(f"{name}=")
    assert {"Secure", "Path=/", "Max-Age=0"} <= set(attributes)


@pytest.mark.parametrize(("believed", "secure"), [("10.0.0.0/8,127.0.0.0/8", True), ("10.0.0.0/8", False)])
def test_only_a_proxy_that_the_operator_names_is_believed(
    api: Api, alice: Tenant, monkeypatch: pytest.MonkeyPatch, believed: str, secure: bool
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", believed)
    with api.beside() as another:
        headers = {"x-forwarded-proto": "https"}
        answer = browser(another).post("/v1/sign_in", json={"api_key": alice.key}, headers=headers)
    assert ("Secure" in answer.headers["set-cookie"].split("; ")) == secure


@pytest.mark.parametrize(
    "headers", [{}, OWN | {"sec-fetch-site": "cross-site"}, OWN | {"sec-fetch-site": "none"}]
)
def test_what_another_site_may_have_sent_changes_nothing(
    api: Api, alice: Tenant, headers: dict[str, str]
) -> None:
    job = alice.create_job()["id"]
    cookies = dict(signed_in(api, alice).cookies)
    for method, path in (
        ("POST", f"/v1/fine_tuning/jobs/{job}/cancel"),
        ("DELETE", "/v1/session"),
        ("DELETE", f"/v1/files/{alice.upload()}"),
    ):
        answer = httpx.request(method, api.url + path, cookies=cookies, headers=headers)
        refusal(answer, 403, None, "cross_site_request")
    answer = httpx.post(f"{api.url}/v1/sign_in", json={"api_key": alice.key}, headers=headers)
    refusal(answer, 403, None, "cross_site_request")
    assert alice.job(job)["status"] == "queued"


def test_a_link_begins_one_session(api: Api, alice: Tenant) -> None:
    secret = link_of(alice)
    first, second = browser(api), browser(api)
    assert first.post("/v1/sign_in", json={"link": secret}).json()["project"]["name"] == "alice"
    assert first.get("/v1/files").is_success
    error = refusal(second.post("/v1/sign_in", json={"link": secret}), 401)
    assert "has been used or is too old" in error["message"]
    refusal(second.get("/v1/files"), 401)


def test_a_link_tells_whose_key_it_is_before_it_is_followed(api: Api, alice: Tenant) -> None:
    secret, client = link_of(alice), browser(api)
    shown = client.post("/v1/sign_in/link", json={"link": secret})
    assert "set-cookie" not in shown.headers
    told = shown.json()
    assert (told["project"], told["key_name"], told["role"]) == (
        {"id": alice.project_id, "name": "alice"},
        "test",
        "member",
    )
    assert told["expires_at"] > datetime.now(UTC).timestamp()
    refusal(client.get("/v1/files"), 401)
    assert client.post("/v1/sign_in", json={"link": secret}).is_success
    assert "has been used" in refusal(client.post("/v1/sign_in/link", json={"link": secret}), 401)["message"]


def test_only_the_dashboard_may_ask_whose_a_link_is(api: Api, alice: Tenant) -> None:
    secret = link_of(alice)
    answer = httpx.post(f"{api.url}/v1/sign_in/link", json={"link": secret})
    refusal(answer, 403, None, "cross_site_request")
    session = signed_in(api, alice).cookies["tunery_session"]
    for no_link in (session, "tnl_x"):
        refusal(browser(api).post("/v1/sign_in/link", json={"link": no_link}), 401)


def test_a_link_is_no_session_and_a_session_no_key(api: Api, alice: Tenant) -> None:
    secret = link_of(alice)
    refusal(httpx.get(f"{api.url}/v1/files", cookies={"tunery_session": secret}), 401)
    session = signed_in(api, alice).cookies["tunery_session"]
    refusal(httpx.get(f"{api.url}/v1/files", headers={"authorization": f"Bearer {session}"}), 401)
    refusal(browser(api).post("/v1/sign_in", json={"link": session}), 401)


@pytest.mark.parametrize("body", [{}, {"api_key": "x", "link": "y"}])
def test_a_sign_in_names_a_key_or_a_link(api: Api, body: dict[str, str]) -> None:
    answer = browser(api).post("/v1/sign_in", json=body)
    assert "one of them" in refusal(answer, 400, "api_key")["message"]


def test_a_wrong_key_begins_nothing(api: Api, alice: Tenant) -> None:
    answer = browser(api).post("/v1/sign_in", json={"api_key": alice.key[:-1]})
    assert "API key" in refusal(answer, 401)["message"]
    assert "set-cookie" not in answer.headers


def test_signing_out_ends_the_session_and_leaves_the_key(api: Api, alice: Tenant) -> None:
    client = signed_in(api, alice)
    copy = dict(client.cookies)
    assert client.delete("/v1/session").status_code == 204
    assert not client.cookies
    refusal(httpx.get(f"{api.url}/v1/files", cookies=copy), 401, None, "session_ended")
    assert alice.http.get("/v1/files").is_success


def test_a_reader_can_sign_in_and_out(api: Api) -> None:
    client = signed_in(api, api.tenant(role=Role.READ_ONLY))
    assert client.get("/v1/files").is_success
    refusal(client.post("/v1/session/links"), 403)
    assert client.delete("/v1/session").status_code == 204


def test_a_session_ends_with_its_key_and_by_itself(api: Api) -> None:
    revoked, old = api.tenant(), api.tenant()
    clients = [signed_in(api, tenant) for tenant in (revoked, old)]
    link = link_of(revoked)
    with api.sessions.begin() as session:
        revoke_key(session, revoked.key.split("_")[1])
        of_old = SignIn.key_id == old.key.split("_")[1]
        session.execute(update(SignIn).where(of_old).values(expires_at=func.now() - timedelta(seconds=1)))
    assert "revoked" in refusal(clients[0].get("/v1/files"), 401)["message"]
    for path in ("/v1/sign_in/link", "/v1/sign_in"):
        assert "revoked" in refusal(browser(api).post(path, json={"link": link}), 401)["message"]
    refusal(clients[1].get("/v1/files"), 401, None, "session_ended")
    signed_in(api, api.tenant())
    with api.sessions() as session:
        assert session.scalars(select(SignIn).where(of_old)).all() == []


def test_no_token_is_kept(api: Api, alice: Tenant) -> None:
    secrets = [link_of(alice), signed_in(api, alice).cookies["tunery_session"]]
    with api.sessions() as session:
        kept = session.scalars(select(SignIn.sha256)).all()
    assert not {secret for secret in secrets for row in kept if secret in row or row in secret}


def test_signing_in_is_audited(api: Api) -> None:
    admin = api.tenant(role=Role.ADMIN)
    signed_in(api, admin).delete("/v1/session")
    link_of(admin)
    actions = [entry["type"] for entry in admin.http.get("/v1/organization/audit_logs").json()["data"]]
    assert actions[:3] == ["sign_in_link.created", "session.ended", "session.begun"]
