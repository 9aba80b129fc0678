"""The operator's OpenID provider: its description, its keys, and the exchange of a code for a person."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import structlog
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.jwk import KeySet

from api.admission.cookies import SIGN_IN_PAGE
from api.admission.seats import Person
from api.sign_on.attempt import Attempt
from api.sign_on.id_token import BadClaims, BadSignature, checked_claims
from api.sign_on.problems import problem
from api.sign_on.published import Published, read_description, read_keys
from api.sign_on.requests import Requests, unavailable
from core.errors import AppError
from core.settings import Settings

TOTAL_SECONDS = 12.0  # for all requests of a sign-on together
SCOPES, GROUPS_SCOPE = "openid profile email", "groups"
MOST_LOGGED = 200  # characters of what a browser or the provider has sent
NAMES = ("email", "preferred_username", "name")

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
        self._requests = Requests()
        self._description = Published(partial(read_description, self._requests, self._issuer))
        self.keys: Published[KeySet] = Published(self._read_keys)

    async def close(self) -> None:
        """Close the connections."""
        await self._requests.close()

    async def address(self, attempt: Attempt) -> str:
        """Return where a browser asks the provider to say who its person is."""
        description = await self._description.get()
        return str(
            prepare_grant_uri(
                description["authorization_endpoint"],
                self._client_id,
                "code",
                redirect_uri=self._redirect_uri,
                scope=self._scopes or _scopes_of(description),
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
        end = (await self._description.get()).get("end_session_endpoint")
        if end is None:
            return None
        back = {"client_id": self._client_id, "post_logout_redirect_uri": f"{self._public_url}{SIGN_IN_PAGE}"}
        return str(add_params_to_uri(end, list(back.items())))

    async def person(self, attempt: Attempt, code: str, issuer: str | None) -> Person:
        """Return the person for whom the provider has given `code` to the browser of this attempt.

        `issuer` is the provider that the browser names, if it names one. Raises the errors of
        `api.sign_on.problems`.
        """
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                return await self._person(attempt, code, issuer)
        except TimeoutError:
            raise unavailable(f"a sign-on took more than {TOTAL_SECONDS:.0f} seconds") from None

    async def _person(self, attempt: Attempt, code: str, issuer: str | None) -> Person:
        description = await self._description.get()
        says_issuer = description.get("authorization_response_iss_parameter_supported") is True
        if issuer != self._issuer and (issuer is not None or says_issuer):
            raise _untrusted("the answer names another issuer", named=(issuer or "")[:MOST_LOGGED])
        tokens = await self._redeem(description, code, attempt.verifier)
        claims = await self._claims(tokens, attempt.nonce)
        is_whole = self._groups_claim in claims and any(name in claims for name in NAMES)
        if not is_whole and "userinfo_endpoint" in description:
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
        answer = await self._requests.ask("POST", description["token_endpoint"], data=form, auth=auth)
        if answer.status in (400, 401):
            why = str(answer.said.get("error"))[:MOST_LOGGED]
            log.warning("sign_on_code_refused", status=answer.status, error=why)
            raise problem("sign_on_stale" if why == "invalid_grant" else "sign_on_unavailable")
        return answer.of_success()

    async def _claims(self, tokens: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise _untrusted("the answer has no id_token")
        for is_last in (False, True):
            keys = await self.keys.get(again=is_last)
            try:
                return checked_claims(id_token, keys, self._issuer, self._client_id, nonce, access_token)
            except BadSignature as error:
                if is_last:  # otherwise the provider may have changed its keys
                    raise _untrusted(str(error)) from None
            except BadClaims as error:
                raise _untrusted(str(error)) from None
        raise AssertionError("the last reading of the keys returns or raises")

    async def _read_keys(self) -> KeySet:
        return await read_keys(self._requests, (await self._description.get())["jwks_uri"])

    async def _with_userinfo(
        self, url: str, tokens: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the claims with those that the provider tells at its userinfo endpoint."""
        headers = {"authorization": f"Bearer {tokens.get('access_token')}"}
        told = (await self._requests.ask("GET", url, headers=headers)).of_success()
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


def _scopes_of(description: Mapping[str, Any]) -> str:
    """Return the scopes to ask for. Providers that do not know a scope may refuse the whole sign-on."""
    supported = description.get("scopes_supported")
    return f"{SCOPES} {GROUPS_SCOPE}" if isinstance(supported, list) and GROUPS_SCOPE in supported else SCOPES


def _name_in(claims: Mapping[str, Any]) -> str:
    """Return the name by which colleagues know the person. It decides nothing."""
    unproven = {"email"} if claims.get("email_verified") is False else set()
    for claim in NAMES:
        value = claims.get(claim)
        if claim not in unproven and isinstance(value, str) and value.isprintable() and value.strip():
            return value.strip()
    return str(claims["sub"])


def _untrusted(why: str, **more: Any) -> AppError:
    log.warning("sign_on_answer_refused", why=why, **more)
    return problem("sign_on_untrusted")
