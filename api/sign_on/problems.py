"""Names what can go wrong while a person signs on, and tells the person what to do."""

from core.errors import AppError, NotFound, PermissionDenied, Unavailable

PROBLEMS: dict[str, tuple[type[AppError], str]] = {
    "sign_on_not_configured": (
        NotFound,
        "This service has no sign-on. Sign in with an API key, or ask the operator to set "
        "TUNERY_SIGN_ON_ISSUER.",
    ),
    "sign_on_unavailable": (
        Unavailable,
        "The provider of the sign-on cannot be reached, or does not answer as it should. Try again in a "
        "minute. If this lasts, tell the operator: the log of the API says what is wrong.",
    ),
    "sign_on_refused": (
        PermissionDenied,
        "The provider did not sign you on. Try again, or ask those who run the provider whether you may use "
        "Tunery.",
    ),
    "sign_on_set_up_wrongly": (
        Unavailable,
        "The provider refuses what Tunery asks of it, whoever signs on. Tell the operator: the log of the "
        "API says what the provider refuses.",
    ),
    "sign_on_stale": (
        PermissionDenied,
        "This sign-on has been used, is too old, or did not begin in this browser. Begin again here.",
    ),
    "sign_on_untrusted": (
        PermissionDenied,
        "The answer of the provider is not one that Tunery can trust. Begin again here. If this lasts, tell "
        "the operator: the log of the API says what is wrong.",
    ),
    "sign_on_without_group": (
        PermissionDenied,
        "The provider knows you, but none of your groups may use this service. Ask the operator which group "
        "you need.",
    ),
    "sign_on_without_project": (
        PermissionDenied,
        "None of your groups may use this project. Sign in to another project, or ask the operator which "
        "group you need.",
    ),
}


def problem(code: str) -> AppError:
    """Return the error of this code."""
    error, message = PROBLEMS[code]
    return error(message, code=code)
