"""Chooses the fastest path that computes the same as transformers for a model that was just loaded."""

from torch import nn

from core.errors import JobError
from worker.engine.base.experts_trial import take_experts
from worker.engine.base.miniature import why_not_fast
from worker.engine.base.trial import run_trial
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import PlainDecoder, PortableDecoder, find_step_costs
from worker.engine.decoders.text_decoder import TextDecoder


def choose_decoder(
    model: nn.Module, max_length: int, sharded: bool = False, save_in_bf16: bool = False
) -> tuple[TextDecoder, str]:
    """Return the decoder, and the reason why it is not a faster one ("" for the fast path).

    `max_length` is the most tokens of a row. With `save_in_bf16` the fast path keeps its activations in bf16
    until the backward pass. Raises JobError if no path computes the model correctly.
    """
    if sharded:
        not_fast: str | None = "its weights are spread over several devices"
    else:
        not_fast = why_not_fast(model, max_length)
    experts = take_experts(model, sharded)
    if not_fast is None:
        return Decoder(model, save_in_bf16=save_in_bf16), ""
    head = Head.of(model)
    trial = run_trial(model, head, max_length)
    if trial.reason is None:
        decoder = PortableDecoder(model, head, trial.linears, experts)
        decoder.step_costs = find_step_costs(decoder)
        return decoder, not_fast
    if sharded:  # row by row, the processes would call the layers a different number of times
        message = f"This base model cannot be spread over devices: {trial.reason}."
        raise JobError("unsupported_architecture", message, "training.fsdp")
    return PlainDecoder(model, head, trial.linears, experts), trial.reason
