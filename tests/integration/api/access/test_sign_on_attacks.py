"""What somebody may forge of a sign-on, and what a provider may get wrong: none of it begins a session."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.fixtures.outside.forged_openid import (
    GROUPS,
    ForgedProvider,
    asked,
    browser,
    came_back,
    new_key,
    signing_on_at,
)
from tests.fixtures.outside.openid import settings_of
from tests.fixtures.service.api import Api, refusal

PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def ours(api: Api, forging: ForgedProvider) -> Iterator[Api]:
    with signing_on_at(api, forging.issuer) as ours:
        yield ours


def assert_nobody_signed_on(client: httpx.Client) -> None:
    refusal(client.get("/v1/session"), 401)
    assert "tunery_session" not in client.cookies


def test_a_right_token_signs_on(ours: Api, forged: ForgedProvider) -> None:
    client = browser(ours)
    assert came_back(ours, forged, client).headers["location"] == f"{ours.url}/"
    assert client.get("/v1/session").json()["project"]["name"] == "research"


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _claims(**changed: Any) -> Callable[[ForgedProvider, dict[str, Any]], str]:
    return lambda provider, claims: provider.token({**claims, **changed})


def _without(name: str) -> Callable[[ForgedProvider, dict[str, Any]], str]:
    return lambda provider, claims: provider.token({key: claims[key] for key in claims if key != name})


def _tampered(provider: ForgedProvider, claims: dict[str, Any]) -> str:
    """Return a right token whose claims were replaced by those of another one."""
    head, _, signature = provider.token(claims).split(".")
    return ".".join((head, provider.token({**claims, "sub": "grace"}).split(".")[1], signature))


def _unsigned(_: ForgedProvider, claims: dict[str, Any]) -> str:
    key = OctKey.import_key("x" * 32)
    return jwt.encode({"alg": "none"}, claims, key, algorithms=["none"])


def _signed_by_the_public_key(provider: ForgedProvider, claims: dict[str, Any]) -> str:
    """Return a token that a service accepts if it believes the algorithm that the token names."""
    parts = ({"alg": "HS256", "kid": provider.published[0].kid}, claims)
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    public = provider.published[0].as_pem(private=False)
    return f"{signed}.{encoded(hmac.digest(public, signed.encode(), 'sha256'))}"


def _by_a_stranger(provider: ForgedProvider, claims: dict[str, Any]) -> str:
    return provider.token(claims, new_key(provider.published[0].kid))


WRONG = {
    "of another sign-on": _claims(nonce="another"),
    "without a nonce": _without("nonce"),
    "of another issuer": _claims(iss="https://login.example.org"),
    "for another client": _claims(aud="another"),
    "for another client, by ours": _claims(aud="another", azp="tunery"),
    "for two clients, by another": _claims(aud=["tunery", "another"], azp="another"),
    "expired": _claims(exp=int(time.time()) - 90),
    "without an end": _without("exp"),
    "without a subject": _without("sub"),
    "of tomorrow": _claims(iat=int(time.time()) + 86_400),
    "tampered with": _tampered,
    "unsigned": _unsigned,
    "signed by the public key": _signed_by_the_public_key,
    "signed by a stranger": _by_a_stranger,
    "for another access token": _claims(at_hash="bm90IHRoaXMgb25l"),
    "no token at all": lambda _, __: "a.b",
}


@pytest.mark.parametrize("sign", WRONG.values(), ids=WRONG)
def test_a_token_that_is_not_right_begins_nothing(
    ours: Api, forged: ForgedProvider, sign: Callable[[ForgedProvider, dict[str, Any]], str]
) -> None:
    forged.sign = sign
    client = browser(ours)
    error = refusal(came_back(ours, forged, client), 403, None, "sign_on_untrusted")
    assert "Begin again" in error["message"]
    assert_nobody_signed_on(client)


def test_clocks_may_differ_by_half_a_minute(ours: Api, forged: ForgedProvider) -> None:
    for skew in (30, -330):
        forged.sign = lambda provider, claims, skew=skew: provider.token(
            {**claims, "iat": claims["iat"] + skew, "exp": claims["exp"] + skew}
        )
        assert came_back(ours, forged).status_code == 303


def test_an_answer_counts_only_in_the_browser_that_has_asked_for_it(
    ours: Api, forged: ForgedProvider
) -> None:
    """Otherwise, a link could sign a visitor on as the attacker."""
    attacker, victim = browser(ours), browser(ours)
    redeemed = forged.asked.count("/token")
    state = asked(attacker)["state"]
    answer = {"code": "a-code", "state": state}
    refusal(victim.get("/v1/sign_on/callback", params=answer), 403, None, "sign_on_stale")
    asked(victim)
    refusal(victim.get("/v1/sign_on/callback", params=answer), 403, None, "sign_on_stale")
    refusal(victim.get("/v1/sign_on/callback", params={"code": "a-code"}), 403, None, "sign_on_stale")
    assert_nobody_signed_on(victim)
    assert forged.asked.count("/token") == redeemed


def test_a_session_that_was_there_before_is_not_the_one_that_begins(
    ours: Api, forged: ForgedProvider
) -> None:
    client = browser(ours)
    client.cookies["tunery_session"] = planted = "tns_" + "0" * 48
    came_back(ours, forged, client)
    sessions = [cookie.value for cookie in client.cookies.jar if cookie.name == "tunery_session"]
    assert any(value != planted for value in sessions)
    refusal(httpx.get(f"{ours.url}/v1/session", cookies={"tunery_session": planted}), 401)


@pytest.mark.parametrize(
    "page",
    [
        *(
            "https://evil.example.com",
            "//evil.example.com",
            "///evil.example.com",
            "/\\evil.example.com",
            "\\\\evil.example.com",
        ),
        *("/\t/evil.example.com", "javascript:alert(1)", "evil", "", "/v1/sign_on/end", "/" + "a" * 3000),
        *("/./v1/sign_on/end", "/jobs/../v1/sign_on/end", "/%2e/v1/x", "/.%2E/v1/x", "/%761/x", "/jobs/.."),
    ],
)
def test_the_way_back_leads_to_no_other_site(ours: Api, page: str) -> None:
    answer = browser(ours).get(f"/v1/sign_on?next={quote(page, safe='')}")
    refusal(answer, 400, "next")


def test_another_provider_cannot_answer_in_the_place_of_ours(ours: Api, forged: ForgedProvider) -> None:
    client = browser(ours)
    answer = {"code": "a-code", "state": asked(client)["state"], "iss": "https://login.example.org"}
    refusal(client.get("/v1/sign_on/callback", params=answer), 403, None, "sign_on_untrusted")


def test_the_provider_gets_a_challenge_and_only_we_have_its_verifier(ours: Api) -> None:
    client = browser(ours)
    first, second = asked(client), asked(client)
    assert first["code_challenge_method"] == "S256"
    assert first["redirect_uri"] == f"{ours.url}/v1/sign_on/callback"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) == 43
        assert first[name] != second[name]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("access_denied", "sign_on_refused"),
        ("unauthorized_client", "sign_on_set_up_wrongly"),
        ("server_error", "sign_on_unavailable"),
        (None, "sign_on_refused"),
    ],
)
def test_a_refusal_of_the_provider_leads_to_a_page_that_says_what_to_do(
    ours: Api, told: str | None, code: str
) -> None:
    client = browser(ours)
    answer = {"state": asked(client)["state"], **({} if told is None else {"error": told})}
    page = client.get("/v1/sign_on/callback", params=answer, headers=PAGE)
    assert (page.status_code, page.headers["location"]) == (303, f"{ours.url}/sign-in?problem={code}")
    assert client.get("/v1/sign_in", params={"problem": code}).json()["problem"]
    assert client.get("/v1/sign_in", params={"problem": "<script>"}).json()["problem"] is None


def test_what_the_userinfo_says_of_somebody_else_counts_for_nothing(api: Api, forged: ForgedProvider) -> None:
    forged.described = {"userinfo_endpoint": f"{forged.issuer}/userinfo"}
    forged.sign = _without("groups")
    with signing_on_at(api, forged.issuer) as ours:
        forged.userinfo = {"sub": "grace", "groups": ["team"]}
        refusal(came_back(ours, forged), 403, None, "sign_on_untrusted")
        forged.userinfo = {"sub": "ada", "groups": ["team"]}
        assert came_back(ours, forged).status_code == 303


def _kept(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


NOW = int(time.time())
FORGED_COOKIES = {
    "nested": base64.urlsafe_b64encode(b"[" * 3000).decode(),
    "of a lone surrogate": _kept(NOW, "\ud800" * 43, "/", None),
    "of a long project": _kept(NOW, "a" * 43, "/", "a" * 2000),
    "of a huge time": _kept(10**400, "a" * 43, "/", None),
    "too old": _kept(NOW - 3600, "a" * 43, "/", None),
    "of another page": _kept(NOW, "a" * 43, "//evil.example.com", None),
    "no base64": "%",
}


@pytest.mark.parametrize("cookie", FORGED_COOKIES.values(), ids=FORGED_COOKIES)
def test_a_cookie_that_somebody_has_made_up_is_no_attempt(ours: Api, cookie: str) -> None:
    answer = httpx.get(
        f"{ours.url}/v1/sign_on/callback",
        params={"code": "x", "state": "y"},
        headers={"cookie": f"tunery_sign_on={cookie}"},
    )
    refusal(answer, 403, None, "sign_on_stale")


def test_where_people_come_by_https_the_cookies_are_secure_whatever_the_proxy_says(
    api: Api, forged: ForgedProvider
) -> None:
    update = settings_of(forged.issuer, "https://tunery.example.com", sign_on_groups=GROUPS)
    tenant = api.tenant()
    with api.beside(**update) as ours:
        begun = browser(ours).get("/v1/sign_on")
        own = {"x-tunery-dashboard": "1"}
        session = browser(ours).post("/v1/sign_in", json={"api_key": tenant.key}, headers=own)
        for answer, name in ((begun, "__Host-tunery_sign_on"), (session, "__Host-tunery_session")):
            cookie, *attributes = answer.headers["set-cookie"].split("; ")
            assert cookie.startswith(f"{name}=")
            assert {"Secure", "HttpOnly"} <= set(attributes)
