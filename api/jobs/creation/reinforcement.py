"""Refuses what does not go with the methods in which the model answers the rows itself."""

from collections.abc import Sequence
from typing import Any

from api.eval_requests.check import check_criterion, check_endpoints
from api.eval_requests.endpoint_check import check_endpoint
from api.jobs.creation.found import GRADERS, Found
from api.jobs.creation.refusals import invalid_value
from api.jobs.creation.schemas import CreateJob
from core.datasets.preparation.requests import AUGMENTATION, SPLIT
from core.egress import Egress
from core.endpoints.tools import EndpointTool
from core.errors import InvalidRequest
from core.jobs.search import ADAPTER
from core.jobs.spec import JobSpec, TrainingOptions
from core.objectives.registry import AnyObjective
from core.objectives.reinforcement import HYPERPARAMETERS, METHOD, TOOLS, Reinforcement
from core.settings import Settings

SHORTEST_PROMPT = 8  # tokens that must be left beside an answer
DEFAULTS = TrainingOptions()
IMPOSSIBLE = {
    "fsdp": "does not go with the method '{0}': spread weights cannot sample answers. Leave it out.",
    "devices": "must be 1 with the method '{0}', which trains on one device.",
    "row_losses": "measures losses of rows with answers, and prompts have none. Leave it out.",
    "early_stopping_patience": "follows the loss on rows with answers, and prompts have none. Leave it out. "
    "'training.load_best_model_at_end' publishes the best state.",
    "eval_steps": "does not go with the method '{0}'. Set "
    "'method.{0}.hyperparameters.eval_interval' instead.",
    "eval_max_new_tokens": "does not go with the method '{0}'. Set "
    "'method.{0}.hyperparameters.max_completion_tokens' instead.",
}
"""Training options that must have their defaults, with the reasons. {0} is the method."""
UNLIKE = {
    "lora_dropout": "must be 0 with the method '{0}': answers are sampled without dropout.",
    "dynamic_rank": "does not go with the method '{0}': answers are sampled with all ranks.",
}
"""Options of an adapter with which steps compute with other weights than the sampler, with the reasons."""


def refuse_beside_sampling(request: CreateJob, is_sweep: bool, settings: Settings) -> None:
    """Raise InvalidRequest for the first part of a request that does not go with sampled answers."""
    method = request.objective.name
    if is_sweep:
        reason = f"cannot be '{method}' in a sweep, which compares losses. Create a job for each value."
        raise invalid_value("method.type", reason)
    if not request.has_validation:
        raise InvalidRequest(
            f"The method '{method}' needs prompts that are held out of training: their answers say what was "
            f"learnt. Name a 'validation_file' or a '{SPLIT}'.",
            code="validation_file_required",
            param="validation_file",
        )
    for name, reason in IMPOSSIBLE.items():
        if getattr(request.training_or_default, name) != getattr(DEFAULTS, name):
            raise invalid_value(f"training.{name}", reason.format(method))
    if request.augmentation is not None:
        raise invalid_value(AUGMENTATION, f"does not go with the method '{method}'. Leave it out.")
    for name in GRADERS:
        if (grader := request.options_beside.get(name)) is not None:
            _refuse_grader(grader, f"{METHOD}.{name}", settings)


def _refuse_grader(grader: Any, param: str, settings: Settings) -> None:
    """Refuse a grader that this server cannot run, or that gives no reward by itself."""
    check_criterion(grader, settings.python_sandbox, param)
    check_endpoints(Egress(settings.egress_allow), grader, param)
    if grader.type == "label_model":
        reason = (
            "cannot be 'label_model' by itself. Put it into a 'multi' grader, whose formula makes a reward."
        )
        raise invalid_value(f"{param}.type", reason)


def refuse_tools(request: CreateJob, found: Found, settings: Settings) -> None:
    """Raise InvalidRequest for the first tool that may not be called, or tools that are never called."""
    tools: Sequence[EndpointTool] = request.options_beside.get("tools", [])
    if not tools:
        return
    egress, names = Egress(settings.egress_allow), set[str]()
    for index, tool in enumerate(tools):
        if tool.name in names:
            raise InvalidRequest(
                f"Two tools are named '{tool.name}'. A call names one tool, so give each a name of its own.",
                code="duplicate_name",
                param=f"{TOOLS}.{index}.name",
            )
        names.add(tool.name)
        check_endpoint(egress, tool, f"{TOOLS}.{index}")
    form = request.options_beside.get("response_format")
    if form is not None and form["type"] != "text":
        reason = "leaves the model no room to call a tool. Leave it or 'tools' out."
        raise invalid_value(f"{METHOD}.response_format", reason)
    if "tools" not in (found.files["training_file"].needs or {}):
        reason = (
            "are never called, because no row of the training file declares a tool. Add them to the 'tools' "
            "of the rows, in the form of a chat."
        )
        raise invalid_value(TOOLS, reason)


def refuse_unlike_policies(spec: JobSpec) -> None:
    """Raise InvalidRequest for an adapter that learns with other weights than it samples, or from answers."""
    adapter = spec.adapter
    for name, reason in UNLIKE.items():
        if getattr(adapter, name, None):
            raise invalid_value(f"{ADAPTER}{name}", reason.format(spec.objective.type))
    if getattr(adapter, "init_lora_weights", None) == "lora_ga":
        reason = "cannot be 'lora_ga', which computes gradients of answers, and prompts have none."
        raise invalid_value(f"{ADAPTER}init_lora_weights", reason)


def refuse_stop_without_audit(objective: AnyObjective) -> None:
    """Raise InvalidRequest if an audit shall end the job, and there is none."""
    if isinstance(objective, Reinforcement) and objective.stop_on_audit and objective.audit_grader is None:
        reason = f"needs an audit. Add the grader '{METHOD}.audit_grader', or leave it out."
        raise invalid_value(f"{HYPERPARAMETERS}.stop_on_audit", reason)


def refuse_long_answers(spec: JobSpec) -> None:
    """Raise InvalidRequest if answers leave no room for their prompts."""
    longest = spec.training.max_length or 0
    if spec.sampled_tokens > longest - SHORTEST_PROMPT:
        reason = (
            f"is {spec.sampled_tokens:,}, but prompt and answer together have at most {longest:,} tokens. "
            f"Choose at most {longest - SHORTEST_PROMPT:,}, or less for longer prompts."
        )
        param = f"method.{spec.objective.type}.hyperparameters.max_completion_tokens"
        raise invalid_value(param, reason)
