"""What a provider may get wrong, and what happens while it is away: nobody signs on, and the log says why."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from tests.fixtures.outside.forged_openid import (
    GROUPS,
    ForgedProvider,
    asked,
    browser,
    came_back,
    new_key,
    signing_on_at,
)
from tests.fixtures.outside.openid import openid_provider, settings_of, walk
from tests.fixtures.processes.ports import free_port
from tests.fixtures.service.api import Api, refusal, running_api

ADA = {"ada": {"email": "ada@example.com", "groups": ["team"]}}
PAGE = {"accept": "text/html"}


def test_a_key_that_the_provider_has_changed_is_read_again(api: Api, forged: ForgedProvider) -> None:
    with signing_on_at(api, forged.issuer) as ours:
        assert came_back(ours, forged).status_code == 303
        former = forged.published
        try:
            forged.published = [new_key("second")]
            read = forged.asked.count("/jwks")
            refusal(came_back(ours, forged), 403, None, "sign_on_untrusted")
            assert forged.asked.count("/jwks") == read, "nobody can make us read the keys all the time"
            ours.app.state.sign_on.provider.keys.rest_seconds = 0.0
            assert came_back(ours, forged).status_code == 303
        finally:
            forged.published = former


ODD_KEYS: list[dict[str, Any]] = [
    {"error": "busy"},
    {"keys": []},
    {"keys": [{"kty": "EC", "crv": "P-512", "x": "AA", "y": "AA"}, {"kty": "new"}, "key", None]},
    {"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AA"}, {"kty": "RSA", "n": 5, "e": []}]},
]


@pytest.mark.parametrize("odd", ODD_KEYS, ids=["an error", "none", "unknown kinds", "unusable ones"])
def test_odd_keys_of_the_provider_are_told_and_are_not_kept(
    api: Api, forged: ForgedProvider, odd: dict[str, Any]
) -> None:
    with signing_on_at(api, forged.issuer) as ours:
        forged.jwks = odd
        refusal(came_back(ours, forged), 503, None, "sign_on_unavailable")
        forged.jwks = {"keys": [*odd.get("keys", []), forged.published[0].as_dict(private=False)]}
        ours.app.state.sign_on.provider.keys.failed_seconds = 0.0
        assert came_back(ours, forged).status_code == 303


def test_while_the_provider_is_away_it_is_asked_once_for_all_who_come(
    api: Api, forged: ForgedProvider
) -> None:
    forged.status, before = 500, len(forged.asked)
    with api.beside(**settings_of(forged.issuer, "http://127.0.0.1:8", sign_on_groups=GROUPS)) as ours:
        for path in ("/v1/sign_on", "/v1/sign_on/end") * 5:
            refusal(browser(ours).get(path), 503, None, "sign_on_unavailable")
    assert len(forged.asked) == before + 1


@pytest.mark.parametrize(
    "named",
    [
        {"token_endpoint": "http://login.example.com/token"},
        {"jwks_uri": "file:///etc/keys"},
        {"userinfo_endpoint": "http://login.example.com/userinfo"},
        {"end_session_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://[/"},
    ],
    ids=lambda named: next(iter(named)),
)
def test_an_address_of_the_provider_without_tls_is_refused(
    api: Api, forged: ForgedProvider, named: dict[str, str]
) -> None:
    forged.described = named
    with api.beside(**settings_of(forged.issuer, "http://127.0.0.1:8", sign_on_groups=GROUPS)) as ours:
        with capture_logs() as lines:
            refusal(browser(ours).get("/v1/sign_on"), 503, None, "sign_on_unavailable")
        assert next(iter(named)) in str(lines)


def test_an_answer_of_the_provider_that_is_too_large_is_not_read(api: Api, forged: ForgedProvider) -> None:
    forged.described = {"more": "x" * 2 * 1024**2}
    with api.beside(**settings_of(forged.issuer, "http://127.0.0.1:8", sign_on_groups=GROUPS)) as ours:
        refusal(browser(ours).get("/v1/sign_on"), 503, None, "sign_on_unavailable")


def test_only_scopes_that_the_provider_knows_are_asked_for(api: Api, forged: ForgedProvider) -> None:
    url = "http://127.0.0.1:8"
    for described, more, scopes in (
        ({}, {}, "openid profile email"),
        ({"scopes_supported": ["openid", "groups"]}, {}, "openid profile email groups"),
        ({}, {"sign_on_scopes": "openid roles"}, "openid roles"),
    ):
        forged.described = described
        with api.beside(**settings_of(forged.issuer, url, sign_on_groups=GROUPS, **more)) as ours:
            assert asked(browser(ours))["scope"] == scopes


def test_a_scope_that_a_real_provider_refuses_is_told_to_the_operator(api: Api) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with openid_provider(url, ADA, scope="openid profile email") as provider:
        update = settings_of(provider, url, sign_on_groups=GROUPS)
        with running_api(api.settings.model_copy(update=update), api.sessions, port) as ours:
            with capture_logs() as lines:
                page = walk(browser(ours), "/v1/sign_on", "ada")
            assert page.headers["location"] == f"{url}/sign-in?problem=sign_on_set_up_wrongly"
            [told] = [line for line in lines if line["event"] == "sign_on_refused_by_provider"]
            assert told["error"] == "invalid_scope"


def test_a_provider_that_is_away_or_broken_is_an_error_that_says_so(api: Api, forged: ForgedProvider) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for issuer, status in (
        (f"http://127.0.0.1:{free_port()}", 200),
        (forged.issuer, 500),
        (f"{forged.issuer}/", 200),
    ):
        forged.status = status
        with api.beside(**settings_of(issuer, url, sign_on_groups=GROUPS)) as ours:
            error = refusal(browser(ours).get("/v1/sign_on"), 503, None, "sign_on_unavailable")
            assert "Try again" in error["message"]
            page = browser(ours).get("/v1/sign_on", headers=PAGE)
            assert page.headers["location"] == f"{url}/sign-in?problem=sign_on_unavailable"


def test_a_code_works_once_at_a_real_provider_that_may_also_go_away(api: Api) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with openid_provider(url, ADA) as provider:
        update = settings_of(provider, url, sign_on_groups=GROUPS)
        with running_api(api.settings.model_copy(update=update), api.sessions, port) as ours:
            client = browser(ours)
            begun = client.get("/v1/sign_on")
            kept = dict(client.cookies)
            back = walk(client, begun.headers["location"], "ada")
            assert client.get("/v1/session").is_success
            again = httpx.get(str(back.request.url), cookies=kept)
            refusal(again, 403, None, "sign_on_stale")
            assert "tunery_session" not in again.cookies
            issuer_port = urlsplit(provider.issuer).port
            provider.stop()
            lost = {"code": "x", "state": asked(client)["state"], "iss": provider.issuer}
            refusal(client.get("/v1/sign_on/callback", params=lost), 503, None, "sign_on_unavailable")
            with openid_provider(url, ADA, issuer_port):
                client.cookies.clear()
                ours.app.state.sign_on.provider.keys.rest_seconds = 0.0
                walk(client, "/v1/sign_on", "ada")
                assert client.get("/v1/session").is_success
