"""Prints an estimate for a person."""

from typing import TYPE_CHECKING, Any

from cli.client import output, quantities

if TYPE_CHECKING:
    from core.estimates.job.report import DeviceEstimate

COLUMNS = ("device", "fits", "peak", "longest row", "rows at once", "time", "price", "what to change")


def show(answer: dict[str, Any]) -> None:
    """Print tokens, steps and disk, and a row for each device."""
    from core.estimates.job.report import Estimate

    found = Estimate.model_validate(answer)
    tokens, steps = found.tokens, found.steps
    epochs = round(steps.count / steps.per_epoch)
    guess = "" if tokens.exact else f", guessed from its bytes ({tokens.least:,} to {tokens.most:,} in all)"
    if tokens.sampled is not None:
        guess = f"; at most, with {tokens.sampled:,} in answers that the model samples"
    about = "" if tokens.exact else "about "
    passes = f"{epochs:,} {'epoch' if epochs == 1 else 'epochs'} of {tokens.per_epoch:,}"
    output.data(
        f"tokens  {tokens.count:,}: {passes}{guess}; the longest row has {about}{tokens.longest_row:,}"
    )
    output.data(f"steps   {steps.count:,}, {steps.per_epoch:,} an epoch, {steps.evaluations:,} evaluations")
    if found.disk is not None:
        output.data(f"disk    {quantities.size(found.disk.total_bytes)}")
    output.table([_row(each) for each in found.devices], COLUMNS)
    for reason in found.unknown:
        output.note(f"Not known. {reason}")
    if not tokens.exact and tokens.sampled is None:
        output.note(f"Count them: tunery files check FILE-OR-ID --model {found.base_model}")


def _row(device: "DeviceEstimate") -> dict[str, Any]:
    return {
        "device": device.device,
        "fits": quantities.FITS[device.fits],
        "peak": quantities.size(device.memory.peak_bytes) if device.memory else None,
        "longest row": device.largest_length,
        "rows at once": device.largest_batch,
        "time": device.seconds
        and f"{quantities.time(device.seconds.least)} to {quantities.time(device.seconds.most)}",
        "price": device.price
        and f"{device.price.least:.2f} to {device.price.most:.2f} {device.price.currency}",
        "what to change": " Or: ".join(change.message for change in device.changes) or None,
    }
