"""Warnings about a new job, which still begins. Each becomes an event of the job."""

from collections.abc import Iterator
from typing import Any

from api.jobs.creation.found import Found
from api.jobs.creation.schemas import EVALUATED_FILE, CreateJob
from api.jobs.creation.try_outs import TryOut
from core.datasets.template_needs import IN_WORDS
from core.jobs.spec import JobSpec

MAX_NAMED_FIELDS = 16


def warnings_of(
    request: CreateJob, found: Found, spec: JobSpec, try_out: TryOut | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each warning with its event's data."""
    if unknown := list(request.model_extra or {}):  # no error, since proxies add fields of their own
        shown = [name[:64] for name in unknown[:MAX_NAMED_FIELDS]]
        more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
        yield f"Unknown parameters were ignored: {', '.join(shown)}{more}", {"unknown_parameters": shown}
    # Clients can download the adapter at any rank, also without a measured loss
    if getattr(spec.adapter, "dynamic_rank", False) and not request.has_validation:
        yield (
            "The job will not measure the loss at each rank of 'adapter.dynamic_rank', as this needs a "
            "validation file. Name one in 'validation_file', or try out the ranks that you download.",
            {"code": "ranks_without_losses"},
        )
    if spec.sampled_tokens and spec.trains_alone:
        yield (
            f"With an adapter of the type '{spec.adapter.type}', answers are sampled one after the other. "
            "The job takes far longer than with a plain LoRA, which samples many at once.",
            {"code": "slow_sampling"},
        )
    if getattr(spec.objective, "reasoning_effort", "default") != "default":
        yield (
            "'reasoning_effort' has no effect: the models on offer have no reasoning effort.",
            {"code": "no_reasoning_effort"},
        )
    if try_out is not None and try_out.sampled.verdict != "learnable":
        yield (
            f"The grader was tried out on these rows. The job may learn nothing: {try_out.sampled.advice}",
            {
                "code": "nothing_to_learn_expected",
                "eval": try_out.run.eval_id,
                "run": try_out.run.id,
                "verdict": try_out.sampled.verdict,
            },
        )
    trained = [file for path, file in found.files.items() if path != EVALUATED_FILE]
    unjudged = next((file for file in trained if file.needs), None) if found.template is None else None
    if unjudged is not None:
        needs = " and ".join(IN_WORDS[need] for need in sorted(unjudged.needs or {}))
        yield (
            f"Rows of {unjudged.id} have {needs}, and no worker has read the chat template of "
            f"{found.base_model.id} yet. If it has no place for them, the job fails when the rows are "
            "rendered, before it trains.",
            {"code": "template_not_read", "file": unjudged.id},
        )
