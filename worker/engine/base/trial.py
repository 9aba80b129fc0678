"""A trial, run when a base model is loaded, that finds out which path the model may take.

A packed token axis is correct only if one token can influence another only where our own functions compute:
in attention, and in the convolutions and recurrences that we know. Some models have other ones, rotations
that depend on the longest row, or other masks, and no list of architectures stays complete. So a few short
rows are computed in both ways. For every token, each linear layer must see the same inputs on the packed axis
as when the token's row is alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import JobError
from worker.engine.batch.micro_batch import MicroBatch, Segment
from worker.engine.decoders.head import Head, capped_logits
from worker.engine.decoders.portable import PlainDecoder, PortableDecoder, body_of, linear_layers, row_axes
from worker.engine.kernels.states.in_transformers import follow_segments
from worker.engine.kernels.transformers_attention import NAME
from worker.engine.kernels.transformers_norms import take_norms

# The largest difference that passes: the mean over tokens of the relative difference. Rounding stays far
# below it, and another token's influence is far above it. In bf16, SmolLM2's differences round to 0, and a
# rotation that is stretched by half makes a difference of 0.065.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.03}
SHORT_WINDOW = 3  # tokens; shorter than the rows, so that a window changes the result
WINDOWS = ("sliding_window", "attention_chunk_size")

SEGMENTS = (
    Segment(0, 5),
    Segment(5, 11, prefix=((0, 5),)),
    Segment(11, 15, prefix=((0, 5),)),
    Segment(15, 21),
    Segment(21, 25),
    Segment(25, 29),
)
TOKENS = 29
ROWS = 5
WHOLE_ROW = 3  # the number of a segment that is a row by itself

Inputs = Mapping[str, list[Tensor]]
"""The inputs of each linear layer, [T, K], by module name and call."""


@dataclass(frozen=True)
class Trial:
    """The result of a trial.

    `linears` are the layers that the model calls. `reason` says why its rows cannot be packed; None if they
    can.
    """

    linears: tuple[str, ...]
    reason: str | None


@torch.no_grad()
def run_trial(model: nn.Module, head: Head, max_length: int) -> Trial:
    """Run a few rows alone and packed, and leave the model with the attention that its path needs.

    Raises JobError if the engine would compute something else than the model even for a row alone.
    """
    batch = trial_batch(len(head.layer.weight), max_length, head.layer.weight.device)
    tolerance = TOLERANCE[head.dtype]
    with _short_windows(model):
        try:
            with _recorded_inputs(model) as alone:
                hidden_SD = PlainDecoder(model, head).hidden(batch, {})
        except (AttributeError, TypeError, ValueError, LookupError, NotImplementedError) as error:
            # Not every model around a text model computes rows of tokens without images
            found = f"{type(error).__name__}: {error}"
            raise _unsupported(f"its text part does not compute rows of tokens ({found})") from error
        _refuse_unknown_head(model, head, batch, hidden_SD, tolerance)
        _refuse_attention_to_later_tokens(alone, tolerance)
        own_attention = model.config._attn_implementation  # type: ignore[union-attr]
        model.set_attn_implementation(NAME)  # type: ignore[operator]
        follow_segments(model)
        take_norms(model)
        reason = _why_not_packed(model, head, batch, alone, tolerance)
    if reason is not None:
        model.set_attn_implementation(own_attention)  # type: ignore[operator]
    return Trial(tuple(alone), reason)


def trial_batch(words: int, max_length: int, device: torch.device) -> MicroBatch:
    """Make the rows: two with a shared beginning, two without one, and one at the last positions allowed.

    The last row is there for its effect on the others: some rotations depend on the highest position.
    """
    positions = [(0, 5), (5, 11), (5, 9), (0, 6), (0, 4), (max(0, max_length - 4), max(4, max_length))]
    random = torch.Generator().manual_seed(0)
    # Special tokens stand at the ends of a vocabulary, so the tokens come from its middle
    tokens_T = torch.randint(words // 8, words // 2, (TOKENS,), generator=random).to(device)
    return MicroBatch(
        tokens_T=tokens_T,
        positions_T=torch.cat([torch.arange(*span, device=device) for span in positions]),
        segments=SEGMENTS,
        adapter_tokens={},
        supervised_S=torch.arange(TOKENS, device=device),
        labels_S=tokens_T,
        weights_S=torch.ones(TOKENS, device=device),
        rows_S=torch.zeros(TOKENS, dtype=torch.long, device=device),
    )


def _refuse_unknown_head(
    model: nn.Module, head: Head, batch: MicroBatch, hidden_SD: Tensor, tolerance: float
) -> None:
    """Raise JobError if the model's logits are not those that `Head` computes."""
    row = slice(SEGMENTS[WHOLE_ROW].start, SEGMENTS[WHOLE_ROW].end)
    expected_SV = model(input_ids=batch.tokens_T[None, row], use_cache=False).logits[0].float()
    logits_SV = capped_logits(hidden_SD[row], head.weight, head.softcap)
    if not difference(logits_SV, expected_SV) <= tolerance:
        raise _unsupported("its logits are not a scaled or capped product of hidden states and head")


def _refuse_attention_to_later_tokens(alone: Inputs, tolerance: float) -> None:
    """Raise JobError if the beginning that two rows share has different inputs in the two rows."""
    first, shared = SEGMENTS[1].end, SEGMENTS[0].length
    for calls in alone.values():
        times = len(calls) // ROWS
        for one, other in zip(calls[:times], calls[times : 2 * times], strict=True):
            if len(one) == first and not difference(one[:shared], other[:shared]) <= tolerance:
                raise _unsupported("its tokens attend to the tokens after them")


def _why_not_packed(
    model: nn.Module, head: Head, batch: MicroBatch, alone: Inputs, tolerance: float
) -> str | None:
    """Run the rows packed, and return why they differ from the rows `alone`; None if they do not."""
    try:
        with _recorded_inputs(model) as packed:
            PortableDecoder(model, head).hidden(batch, {})
    except Exception as error:  # any kind: it is foreign code, perhaps not written for this kind of call
        return f"its modules refuse a packed token axis ({type(error).__name__}: {error})"
    if packed.keys() != alone.keys():
        return "its layers are called differently on a packed token axis"
    axis_N = torch.cat([axis_L for _, axis_L in row_axes(SEGMENTS, batch.tokens_T.device)])
    compared = slice(0, len(axis_N) - SEGMENTS[-1].length)
    for name, calls in packed.items():
        for call, x_TK in enumerate(calls):
            expected_NK = torch.cat(alone[name][call :: len(calls)])
            if len(x_TK) != TOKENS or len(expected_NK) != len(axis_N):
                return f"{name} does not work on the tokens in their order"
            apart = difference(x_TK[axis_N][compared], expected_NK[compared])
            if not apart <= tolerance:
                return (
                    "on a packed token axis its rows change each other "
                    f"(the inputs of {name} differ by {apart:.1%})"
                )
    return None


def difference(a_TK: Tensor, b_TK: Tensor) -> float:
    """Return the mean over tokens of |a − b| / |b|."""
    a_TK, b_TK = a_TK.float(), b_TK.float()
    return float(((a_TK - b_TK).norm(dim=-1) / b_TK.norm(dim=-1).clamp_min(1e-12)).mean())


@contextmanager
def _recorded_inputs(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Record the inputs of the decoder's linear layers, by name, in the order of the first calls."""
    inputs: dict[str, list[Tensor]] = {}
    body = set(linear_layers(body_of(model)).values())

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Any], None]:
        def record(_module: nn.Module, args: tuple[Tensor, ...], out: Any) -> None:
            if isinstance(out, Tensor):  # some routers are linear layers that return more than their product
                inputs.setdefault(name, []).append(args[0].reshape(-1, args[0].shape[-1]))

        return record

    hooks = [
        module.register_forward_hook(recorder(name))
        for name, module in linear_layers(model).items()
        if module in body
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _short_windows(model: nn.Module) -> Iterator[None]:
    """Make attention windows shorter than the trial's rows, so that the trial notices an ignored window."""
    holders = {id(h): h for module in model.modules() for h in (module, getattr(module, "config", None))}
    found = [
        (holder, name, getattr(holder, name))
        for holder in holders.values()
        for name in WINDOWS
        if isinstance(getattr(holder, name, None), int)
    ]
    for holder, name, _ in found:
        setattr(holder, name, SHORT_WINDOW)
    try:
        yield
    finally:
        for holder, name, window in found:
            setattr(holder, name, window)


def _unsupported(reason: str) -> JobError:
    return JobError("unsupported_architecture", f"This base model cannot be trained: {reason}.", "model")
