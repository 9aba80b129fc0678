"""Refuses a request that no job can be made of, by what was found for it. Nothing here reads the database.

`options` and `contradictions` refuse what comes after this.
"""

from collections.abc import Iterable, Sequence

from api.files.service import names_no_file
from api.jobs.creation.found import Found
from api.jobs.creation.method_schemas import Method
from api.jobs.creation.schemas import CreateJob
from core.datasets.check import MIN_ROWS
from core.datasets.kinds import PURPOSE, ROW_IN_WORDS
from core.datasets.preparation.requests import AUGMENTATION, SPLIT, Preparation
from core.datasets.template_needs import missing_needs
from core.errors import InvalidRequest
from core.jobs.integrations import (
    WANDB_SECRET,
    Integration,
    MlflowIntegration,
    WandbIntegration,
    receiver_of,
    wandb_is_offline,
)
from core.objectives.objective import Objective
from core.objectives.registry import OBJECTIVES
from core.secrets.hosts import NOT_FOR_HOST, refusal
from core.settings import Settings
from core.tables import File


def refuse(request: CreateJob, found: Found, settings: Settings) -> None:
    """Raise InvalidRequest for the first fault of a request. Its message names the wrong parameter."""
    if request.method is not None:
        _refuse_impossible(request.method)
    if request.integrations:  # `offered_integrations` looks for the trackers' libraries on the disk
        _refuse_integrations(request.integrations, found, settings)
    refuse_devices_without_workers(request.training_or_default.devices, settings.offered_classes)
    training_file = dataset_of(found, "training_file", request.training_file)
    _refuse_other_kind(request.objective, training_file, "training_file")
    rows = training_file.rows or 0
    if rows < MIN_ROWS:
        raise InvalidRequest(
            f"The training file has {rows} row{'' if rows == 1 else 's'}; a job needs at least {MIN_ROWS}.",
            code="invalid_n_examples",
            param="training_file",
        )
    _refuse_too_many_rows(rows, "training_file", settings.max_training_rows)
    if request.validation_file is not None:
        validation_file = dataset_of(found, "validation_file", request.validation_file)
        _refuse_too_many_rows(validation_file.rows or 0, "validation_file", settings.max_validation_rows)
        _refuse_other_kind(request.objective, validation_file, "validation_file")
        _refuse_what_the_template_lacks(found, validation_file, "validation_file")
    _refuse_what_the_template_lacks(found, training_file, "training_file")
    if request.preparation is not None:
        if request.validation_split is not None and request.validation_file is not None:
            raise invalid_value(SPLIT, "does not go with a 'validation_file': name one of the two.")
        _refuse_preparation(request.preparation, rows, settings)


def dataset_of(found: Found, param: str, file_id: str) -> File:
    """Return the file that the request names at `param`.

    Raises InvalidRequest, with the same message for a missing file and for one of another project.
    """
    file = found.files.get(param)
    if file is None:
        raise names_no_file(file_id, param)
    if file.purpose != PURPOSE:
        raise InvalidRequest(
            f"The file {file_id} has the purpose '{file.purpose}'. Upload it with the purpose '{PURPOSE}'.",
            code="invalid_file_purpose",
            param=param,
        )
    return file


def refuse_devices_without_workers(devices: int, classes: Sequence[int]) -> None:
    """Raise InvalidRequest if no worker has so many devices: the job would wait forever."""
    if devices not in classes:
        raise InvalidRequest(
            f"No worker of this server trains on {devices} device{'s' if devices > 1 else ''}. On offer: "
            f"{', '.join(str(offered) for offered in classes)}.",
            code="devices_not_available",
            param="training.devices",
        )


def _refuse_impossible(method: Method) -> None:
    """Refuse an objective without the options that it requires, and options of another objective."""
    for name, field in OBJECTIVES[method.type].options_beside.items():
        if field.is_required() and getattr(method, method.type) is None:
            param = f"method.{method.type}.{name}"
            message = f"Missing required parameter: '{param}'."
            raise InvalidRequest(message, code="missing_required_parameter", param=param)
    for name in type(method).model_fields:
        if name not in ("type", method.type) and getattr(method, name) is not None:
            raise invalid_value(
                f"method.{name}", f"does not belong to the method '{method.type}'; leave it out."
            )


def _refuse_integrations(asked: Sequence[Integration], found: Found, settings: Settings) -> None:
    """Refuse a tracker that is not on offer, is named twice, or lacks a secret that may be sent to it."""
    offered, uris = settings.offered_integrations, settings.offered_mlflow_uris
    for index, integration in enumerate(asked):
        param = f"integrations.{index}"
        if integration.type not in offered:
            raise InvalidRequest(
                f"The integration '{integration.type}' is not on offer on this server. On offer: "
                f"{', '.join(offered) or 'none'}.",
                code="unsupported_integration",
                param=f"{param}.type",
            )
        if integration.type in [earlier.type for earlier in asked[:index]]:
            raise InvalidRequest(
                f"The integration '{integration.type}' is named twice. Name each integration once.",
                code="duplicate_integration",
                param=f"{param}.type",
            )
        if isinstance(integration, MlflowIntegration):
            uri = integration.mlflow.tracking_uri
            if uri is not None and uri not in uris:  # a worker connects to no other address
                raise InvalidRequest(
                    f"The MLflow server at that address is not on offer. On offer: {', '.join(uris)}.",
                    code="tracking_uri_not_available",
                    param=f"{param}.mlflow.tracking_uri",
                )
        secret, to = found.secrets.get(integration.type), receiver_of(integration, uris)
        if isinstance(integration, WandbIntegration) and secret is None and not wandb_is_offline():
            raise InvalidRequest(
                f"The project has no secret {WANDB_SECRET}, with which a worker reports to Weights & Biases. "
                f"Store it by `tunery secrets set {WANDB_SECRET}` or POST /v1/secrets, and create the job "
                "again.",
                code="missing_secret",
                param=param,
            )
        if secret is not None and to is not None and (reason := refusal(secret, to)) is not None:
            raise InvalidRequest(reason, code=NOT_FOR_HOST, param=param)


def _refuse_other_kind(objective: Objective, file: File, param: str) -> None:
    """Refuse a file from whose kind of rows the objective does not learn."""
    kind = file.kind
    assert kind is not None
    if kind == objective.dataset:
        return
    fitting = [each.name for each in OBJECTIVES.values() if each.dataset == kind]
    raise InvalidRequest(
        f"The method '{objective.name}' learns from {ROW_IN_WORDS[objective.dataset]} on each line, but a "
        f"line of {file.id} is {ROW_IN_WORDS[kind]}, which {_quoted(fitting)} "
        f"take{'' if len(fitting) > 1 else 's'}.",
        code="invalid_file_kind",
        param=param,
    )


def _refuse_too_many_rows(rows: int, param: str, limit: int) -> None:
    if rows > limit:
        raise InvalidRequest(
            f"The {param.replace('_', ' ')} has {rows:,} rows; a job on this server takes at most "
            f"{limit:,}. Upload a part of the rows, such as a random sample.",
            code="invalid_n_examples",
            param=param,
        )


def _refuse_what_the_template_lacks(found: Found, file: File, param: str) -> None:
    """Refuse a file whose rows hold something for which the base model's chat template has no place.

    A template that no worker has read yet is not judged here: the job fails when its rows are rendered.
    """
    if not file.needs or found.template is None:
        return
    if (refusal := missing_needs(file.needs, found.template.places, param, found.base_model.id)) is not None:
        code, message = refusal
        raise InvalidRequest(message, code=code, param=param)


def _refuse_preparation(asked: Preparation, rows: int, settings: Settings) -> None:
    """Refuse a split or variants that leave too few of `rows` rows, or make too many."""
    held, most = asked.held_out(rows), settings.max_validation_rows
    if held > most:
        reason = f"holds {held:,} rows out; a job on this server takes at most {most:,}. Name so many rows."
        raise invalid_value(SPLIT, reason)
    if asked.validation_split is not None and (held < 1 or rows - held < MIN_ROWS):
        reason = (
            f"holds {held:,} of {rows:,} rows out and leaves {max(rows - held, 0):,} to train on; a job "
            f"needs at least one row and {MIN_ROWS}."
        )
        raise invalid_value(SPLIT, reason)
    if asked.augmentation is not None and not asked.augmentation.names_a_kind:
        kinds = "few_shot_order, typing_noise, user_case, system_prompts or label_order"
        raise invalid_value(AUGMENTATION, f"names no kind of variant. Set {kinds}, or leave it out.")
    if (trained := asked.trained(rows)) > (limit := settings.max_training_rows):
        reason = f"makes up to {trained:,} rows; a job on this server takes at most {limit:,}."
        raise invalid_value(f"{AUGMENTATION}.copies", reason)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def invalid_value(param: str, reason: str) -> InvalidRequest:
    """Return the error. `reason` continues the sentence that begins with the parameter's name."""
    return InvalidRequest(f"'{param}' {reason}", code="invalid_value", param=param)
