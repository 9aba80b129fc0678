"""What a job's `method` comes to, and which kind of dataset it takes."""

from api.jobs.schemas import CreateJob, Method
from core.datasets.kinds import KIND_OF_METHOD, WHAT
from core.errors import InvalidRequest
from core.jobs.spec import RequestedDpo, RequestedHyperparameters, RequestedKto, RequestedOrpo, RequestedSimpo
from core.tables import File

REQUESTED: dict[str, type[RequestedHyperparameters]] = {
    "supervised": RequestedHyperparameters,
    "dpo": RequestedDpo,
    "orpo": RequestedOrpo,
    "kto": RequestedKto,
    "simpo": RequestedSimpo,
}


def refuse_impossible(method: Method) -> None:
    """Raises InvalidRequest for a method that is not on offer, or one with another's options beside it."""
    if method.type not in REQUESTED:
        raise InvalidRequest(
            f"The method '{method.type}' is not on offer yet. On offer: {_quoted(list(REQUESTED))}.",
            code="unsupported_method",
            param="method.type",
        )
    for name in Method.model_fields:
        if name not in ("type", method.type) and getattr(method, name) is not None:
            raise InvalidRequest(
                f"'method.{name}' does not belong to the method '{method.type}'; leave it out.",
                code="invalid_value",
                param=f"method.{name}",
            )


def requested_hyperparameters(request: CreateJob) -> RequestedHyperparameters:
    """From `method`, or from the older place; both may say the same."""
    kind = request.method.type if request.method else "supervised"
    options = getattr(request.method, kind) if request.method else None
    newer: RequestedHyperparameters | None = options.hyperparameters if options else None
    older = request.hyperparameters
    if newer is None:
        return REQUESTED[kind]() if older is None else REQUESTED[kind](**older.model_dump())
    if older is not None and newer.model_dump(include=set(type(older).model_fields)) != older.model_dump():
        raise InvalidRequest(
            f"'hyperparameters' contradicts 'method.{kind}.hyperparameters'; send the latter alone.",
            code="invalid_value",
            param="hyperparameters",
        )
    return newer


def refuse_other_kind(method: Method | None, file: File, param: str) -> None:
    """Raises InvalidRequest where the file's rows are not what the method learns from."""
    name = method.type if method else "supervised"
    kind = file.kind or "chat"
    wanted = KIND_OF_METHOD[name]
    if kind == wanted:
        return
    fitting = [method for method, takes in KIND_OF_METHOD.items() if takes == kind]
    raise InvalidRequest(
        f"The method '{name}' learns from {WHAT[wanted]} on each line, but a line of {file.id} is "
        f"{WHAT[kind]}, which {_quoted(fitting)} take{'' if len(fitting) > 1 else 's'}.",
        code="invalid_file_kind",
        param=param,
    )


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
