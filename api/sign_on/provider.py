"""The operator's OpenID provider: its description, its keys, and the exchange of a code for a person."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import structlog
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError

from api.admission.seats import Person
from api.sign_on.attempt import Attempt
from api.sign_on.id_token import checked_claims
from api.sign_on.problems import problem
from core.errors import AppError
from core.settings import Settings

TIMEOUT = 5.0  # seconds, for each of the few requests of a sign-on
FRESH_SECONDS = 3600.0  # after which the provider's own description is read again
REST_SECONDS = 10.0  # between two readings of its keys: anybody can send tokens with invented keys
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")

log = structlog.get_logger()


class Provider:
    """The provider that the settings name. Only the event loop may call."""

    def __init__(self, settings: Settings) -> None:
        """Raise ConfigurationError if a setting is missing."""
        self._redirect_uri = settings.redirect_uri
        self._issuer, self._client_id = settings.sign_on_issuer or "", settings.sign_on_client_id or ""
        self._secret = settings.sign_on_client_secret
        self._public_url = settings.public_url
        self._scopes, self._groups_claim = settings.sign_on_scopes, settings.sign_on_groups_claim
        self._http = httpx.AsyncClient(timeout=TIMEOUT, headers={"accept": "application/json"})
        self._reading = asyncio.Lock()
        self.rest_seconds = REST_SECONDS
        self._described: dict[str, Any] = {}
        self._described_at = self._keys_at = -FRESH_SECONDS
        self._keys: dict[str, Any] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def address(self, attempt: Attempt) -> str:
        """Return where a browser asks the provider to say who its person is."""
        description = await self._description()
        return str(
            prepare_grant_uri(
                description["authorization_endpoint"],
                self._client_id,
                "code",
                redirect_uri=self._redirect_uri,
                scope=self._scopes,
                state=attempt.state,
                nonce=attempt.nonce,
                code_challenge=create_s256_code_challenge(attempt.verifier),
                code_challenge_method="S256",
            )
        )

    async def address_of_end(self) -> str | None:
        """Return where a browser ends its session with the provider, or None if the provider has no address.

        From there, the browser comes back to the dashboard.
        """
        end = (await self._description()).get("end_session_endpoint")
        if end is None:
            return None
        back = {"client_id": self._client_id, "post_logout_redirect_uri": f"{self._public_url}/sign-in"}
        return str(add_params_to_uri(end, list(back.items())))

    async def person(self, attempt: Attempt, code: str, issuer: str | None) -> Person:
        """Return the person for whom the provider has given `code` to the browser of this attempt.

        `issuer` is the provider that the browser names, if it names one. Raises the errors of
        `api.sign_on.problems`.
        """
        description = await self._description()
        says_issuer = description.get("authorization_response_iss_parameter_supported") is True
        if issuer != self._issuer and (issuer is not None or says_issuer):
            raise _untrusted("the answer names another issuer", named=issuer)
        tokens = await self._redeem(description, code, attempt.verifier)
        claims = await self._claims(description, tokens, attempt.nonce)
        if self._groups_claim not in claims and "userinfo_endpoint" in description:
            claims = await self._with_userinfo(description["userinfo_endpoint"], tokens, claims)
        return Person(self._issuer, claims["sub"], _name_in(claims), self._groups_in(claims))

    async def _redeem(self, description: Mapping[str, Any], code: str, verifier: str) -> dict[str, Any]:
        """Exchange the code, which works once, for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        auth: tuple[str, str] | None = None
        methods = description.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if self._secret is None:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in methods:  # RFC 6749 wants both in the form of a form
            auth = quote(self._client_id, safe=""), quote(self._secret.get_secret_value(), safe="")
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret.get_secret_value()}
        answer = await self._ask("POST", description["token_endpoint"], data=form, auth=auth)
        if answer.status_code in (400, 401):
            why = _json_of(answer).get("error")
            log.warning("sign_on_code_refused", status=answer.status_code, error=why)
            raise problem("sign_on_stale" if why == "invalid_grant" else "sign_on_unavailable")
        return self._read(answer)

    async def _claims(
        self, description: Mapping[str, Any], tokens: Mapping[str, Any], nonce: str
    ) -> dict[str, Any]:
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise _untrusted("the answer has no id_token")
        for is_last in (False, True):
            keys = await self._key_set(description["jwks_uri"], again=is_last)
            try:
                return checked_claims(id_token, keys, self._issuer, self._client_id, nonce, access_token)
            except (BadSignatureError, InvalidKeyIdError) as error:
                if is_last:  # otherwise the provider may have changed its keys
                    raise _untrusted(str(error)) from None
            except (JoseError, ValueError, TypeError) as error:
                raise _untrusted(str(error)) from None
        raise AssertionError("the last reading of the keys returns or raises")

    async def _with_userinfo(
        self, url: str, tokens: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the claims with those that the provider tells at its userinfo endpoint."""
        headers = {"authorization": f"Bearer {tokens.get('access_token')}"}
        told = self._read(await self._ask("GET", url, headers=headers))
        if told.get("sub") != claims["sub"]:
            raise _untrusted("the userinfo is about somebody else")
        return {**told, **claims}

    def _groups_in(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        groups = claims.get(self._groups_claim)
        if groups is None:
            named = sorted(str(name) for name in claims)
            log.warning("sign_on_names_no_groups", claim=self._groups_claim, claims=named)
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return tuple(group for group in listed if isinstance(group, str))

    async def _description(self) -> dict[str, Any]:
        """Return what the provider says of itself, from the document of OpenID Connect Discovery."""
        async with self._reading:
            if time.monotonic() - self._described_at > FRESH_SECONDS:
                url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                description = self._read(await self._ask("GET", url))
                if description.get("issuer") != self._issuer:
                    raise _unavailable(f"{url} names another issuer", named=description.get("issuer"))
                if missing := [name for name in ENDPOINTS if not isinstance(description.get(name), str)]:
                    raise _unavailable(f"{url} lacks {', '.join(missing)}")
                self._described, self._described_at = description, time.monotonic()
            return self._described

    async def _key_set(self, url: str, *, again: bool) -> dict[str, Any]:
        """Return the provider's public keys. Read them `again` unless they have just been read."""
        async with self._reading:
            age = time.monotonic() - self._keys_at
            if age > FRESH_SECONDS or (again and age > self.rest_seconds):
                self._keys = self._read(await self._ask("GET", url))
                self._keys_at = time.monotonic()
            return self._keys

    async def _ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, url, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unavailable(f"{method} {url} failed: {type(error).__name__}") from None

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        body = _json_of(answer)
        if not answer.is_success or not body:
            url = answer.request.url
            raise _unavailable(f"{answer.request.method} {url} answered {answer.status_code}")
        return body


def _name_in(claims: Mapping[str, Any]) -> str:
    """Return the name by which colleagues know the person. It decides nothing."""
    unproven = {"email"} if claims.get("email_verified") is False else set()
    for claim in ("email", "preferred_username", "name"):
        value = claims.get(claim)
        if claim not in unproven and isinstance(value, str) and value.isprintable() and value.strip():
            return value.strip()
    return str(claims["sub"])


def _json_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the object in the answer, or an empty one if there is none."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _unavailable(why: str, **more: Any) -> AppError:
    log.warning("sign_on_provider_failed", why=why, **more)
    return problem("sign_on_unavailable")


def _untrusted(why: str, **more: Any) -> AppError:
    log.warning("sign_on_answer_refused", why=why, **more)
    return problem("sign_on_untrusted")
