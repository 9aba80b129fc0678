"""The estimate of a job on one device: whether it fits, how long it takes, and what to change."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from api.job_estimates.facts import Facts
from api.job_estimates.fit import Fit, Room, Trainable, trained_numbers
from api.job_estimates.work import measured_range, seconds_of, training_operations
from core.catalog import BaseModelEntry, Precision
from core.estimates.adapters import FP32
from core.estimates.configuration import shape_of
from core.estimates.job.devices import THIS_MACHINE, Machine, Range
from core.estimates.job.report import (
    Change,
    DeviceEstimate,
    MeasuresTaken,
    MemoryParts,
    Operations,
    Option,
    Price,
    Seconds,
)
from core.estimates.loading import loading_seconds
from core.estimates.memory import Memory
from core.estimates.runtime import gap_bytes, runtime_bytes
from core.estimates.shapes import BF16, ModelShape
from core.estimates.workspace import evaluation_bytes
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter
from core.methods.suitability import why_unsuitable
from core.methods.whole import FullTuning

SLOWER_RATE = 0.5  # of the fast path's rate: transformers' own modules, experts, and weights in 4 or 8 bits
SEVERAL_DEVICES = 0.85  # share of the devices' rate that is left, since they wait for each other
MOST_ROWS = 256  # of the largest `batch_size`
HOUR = 3600


@dataclass(frozen=True)
class Job:
    """A job as its devices see it."""

    spec: JobSpec
    facts: Facts
    trainables: tuple[Trainable, ...]
    """What is trained together; empty if its memory has no model"""
    steps: int
    evaluations: int
    work: Operations | None

    @property
    def longest(self) -> int:
        """Tokens of the longest row, also among those of evaluations."""
        validation = self.facts.validation
        return max(self.facts.training.longest, validation.longest if validation else 0)


def on_device(job: Job, machine: Machine, with_options: bool) -> DeviceEstimate:
    """Return the estimate of a job on a machine. `with_options` also tries other methods there."""
    room = _room(job, machine, job.trainables, job.facts.entry)
    if room is None:
        return _without_memory(machine)
    rows, devices = job.facts.training, job.spec.training.devices
    largest_step = rows.largest_step(job.spec.hyperparameters.batch_size, job.steps)
    fit = room.fit(rows.longest, -(-largest_step // devices), rows.usual_row)
    seconds = _seconds(job, room, fit)
    return DeviceEstimate(
        device=machine.name,
        title=machine.title,
        memory_bytes=machine.memory_bytes,
        usable_bytes=room.usable_bytes,
        fits=fit.memory_plan is not None,
        memory=_parts(job, room, fit.memory, fit.step_tokens) if fit.memory else None,
        measures=MeasuresTaken(**vars(fit.memory_plan)) if fit.memory_plan else None,
        largest_length=room.largest_length(job.facts.entry.max_length),
        largest_batch=room.largest_batch(rows.longest, MOST_ROWS),
        seconds=seconds,
        price=_price(job, machine, seconds),
        changes=[] if fit.memory_plan else list(_changes(job, room)),
        options=list(_options(job, machine)) if with_options else [],
    )


def _without_memory(machine: Machine) -> DeviceEstimate:
    return DeviceEstimate(
        device=machine.name,
        title=machine.title,
        memory_bytes=machine.memory_bytes,
        usable_bytes=None,
        fits=None,
        memory=None,
        measures=None,
        largest_length=None,
        largest_batch=None,
        seconds=None,
        price=None,
        changes=[],
        options=[],
    )


def shape_on(
    facts: Facts, entry: BaseModelEntry, machine: Machine | None, sharded: bool
) -> ModelShape | None:
    """Return the base model's shape as a machine computes it; in bf16 without a machine."""
    if facts.configuration is None:
        return None
    usual = machine.number_bytes if machine else BF16
    number_bytes = {"bf16": BF16, "fp32": FP32}.get(entry.dtype, usual)
    saves_in_bf16 = (
        machine is not None and machine.device == "cpu" and entry.dtype == "auto" and number_bytes == FP32
    )
    path: Literal["portable"] | None = "portable" if sharded else None
    flex_attention = machine is None or machine.device == "gpu"
    return shape_of(
        facts.configuration,
        number_bytes,
        entry.quantization,
        path,
        saves_in_bf16,
        flex_attention,
        entry.max_length,
    )


def _room(
    job: Job, machine: Machine, trainables: tuple[Trainable, ...], entry: BaseModelEntry
) -> Room | None:
    model = shape_on(job.facts, entry, machine, job.spec.sharded)
    if model is None or not trainables:
        return None
    shards = job.spec.training.devices if job.spec.sharded else 1
    return Room(
        model,
        trainables,
        machine,
        shards,
        job.facts.offered,
        job.facts.step_tokens,
        job.spec.training.has_eight_bit_moments,
        job.spec.keeps_parent,
    )


def _parts(job: Job, room: Room, memory: Memory, tokens: int) -> MemoryParts:
    """Return the memory in parts. An evaluation may take more than a step if its rows are longer."""
    evaluation = 0
    validation = None if job.spec.sampled_tokens else job.facts.validation  # answers are sampled there
    if validation is not None:
        memory_plan = room.fit(job.longest).memory_plan
        at_once = min(memory_plan.step_tokens, validation.tokens) if memory_plan else tokens
        load = room.load(validation.longest)
        evaluation = round(evaluation_bytes(room.model, load, max(at_once, validation.longest)))
    held = memory.base + memory.state.total
    step, device = memory.step, room.machine.device
    runtime = runtime_bytes(room.model.number_bytes, device)
    return MemoryParts(
        peak_bytes=max(memory.peak, held + evaluation, memory.base + room.loading_bytes),
        base_bytes=memory.base,
        adapter_bytes=memory.state.adapter,
        gradients_bytes=memory.state.gradients,
        moments_bytes=memory.state.moments,
        activations_bytes=round(step.kept + step.stacks),
        head_bytes=round(step.head),
        workspace_bytes=round(max(step.workspace, step.last_workspace)),
        evaluation_bytes=evaluation,
        runtime_bytes=runtime + gap_bytes(step, device),
    )


def _seconds(job: Job, room: Room, fit: Fit) -> Seconds | None:
    """Return how long the job takes there; None if it does not fit, or if it samples answers.

    The speed of sampling has not been measured, and graders take their own time.
    """
    if fit.memory_plan is None or job.work is None or job.spec.sampled_tokens:
        return None
    rate, basis = _rate(job, room)
    training = job.work.training * _more_by_recomputing(job, room, fit)
    work = job.work.model_copy(update={"training": training})
    least, expected, most = seconds_of(work, rate, loading_seconds(room.model, room.machine.device))
    tokens = job.facts.training
    if not tokens.exact and tokens.tokens:
        least *= tokens.least / tokens.tokens
        most *= tokens.most / tokens.tokens
    return Seconds(least=round(least, 1), expected=round(expected, 1), most=round(most, 1), basis=basis)


def _rate(job: Job, room: Room) -> tuple[Range, Literal["measured", "rule"]]:
    """Return the operations a second on the job's devices, and where they are known from."""
    devices = job.spec.training.devices
    if room.machine.name == THIS_MACHINE and job.facts.rates:
        return measured_range(list(job.facts.rates)), "measured"
    model = room.model
    has_experts = any(layer.experts for layer in model.each_layer)
    slower = SLOWER_RATE if model.path == "portable" or model.quantization or has_experts else 1.0
    several = devices * (SEVERAL_DEVICES if devices > 1 else 1.0)
    least, expected, most = room.machine.flops
    return (least * slower * several, expected * slower * several, most * several), "rule"


def _more_by_recomputing(job: Job, room: Room, fit: Fit) -> float:
    """Return the factor by which what is computed again lengthens the training."""
    assert fit.memory_plan is not None
    trained = trained_numbers(room.model.of_a_token, job.trainables[0])
    row = job.facts.training.usual_row
    plain = training_operations(room.model, row, trained, whole=room.trains_whole)
    again = training_operations(room.model, row, trained, fit.memory_plan.recompute, room.trains_whole)
    return again / plain


def _price(job: Job, machine: Machine, seconds: Seconds | None) -> Price | None:
    rate = job.facts.prices.get(machine.name)
    if rate is None or seconds is None:
        return None
    devices = job.spec.training.devices
    cost = {
        name: round(getattr(seconds, name) / HOUR * rate * devices, 4)
        for name in ("least", "expected", "most")
    }
    return Price(**cost, currency=job.facts.currency, per_hour=rate)


def _options(job: Job, machine: Machine) -> Iterator[Option]:
    """Yield what fits with LoRA and with all weights, in each precision that the base model allows."""
    own = job.trainables[0]
    other: Trainable = LoraAdapter() if isinstance(own, FullTuning) else FullTuning()
    entry, longest = job.facts.source, job.facts.training.longest
    for trainable in (own, other):
        for precision in entry.precisions:
            held = entry.in_precision(precision)
            if why_unsuitable(trainable, held, job.spec.sharded) is not None:
                continue
            room = _room(job, machine, (trainable,), held)
            assert room is not None
            fit = room.fit(longest)
            yield Option(
                method=trainable.type,
                quantization=precision,
                fits=fit.memory_plan is not None,
                peak_bytes=fit.memory.peak if fit.memory else None,
                largest_length=room.largest_length(entry.max_length),
                largest_batch=room.largest_batch(longest, MOST_ROWS),
            )


def _changes(job: Job, room: Room) -> Iterator[Change]:
    """Yield the changes that each make the job fit. Changes together are not tried."""
    alone = list(_single_changes(job, room))
    yield from alone
    if not alone:
        yield Change(
            param="model",
            value=None,
            message="Choose a smaller base model, or make several changes together: no other change alone "
            f"makes it fit {room.machine.title}.",
        )


def _single_changes(job: Job, room: Room) -> Iterator[Change]:
    longest = job.facts.training.longest
    if room.trains_whole:
        lora = replace(room, trainables=(LoraAdapter(),))
        if lora.fit(longest).memory_plan:
            yield Change(param="adapter.type", value="lora", message="Train LoRA instead of all weights.")
    for precision in _smaller_precisions(job):
        held = _room(job, room.machine, job.trainables, job.facts.source.in_precision(precision))
        if held is not None and held.fit(longest).memory_plan:
            message = f"Hold the base model in {precision}: set 'training.quantization'."
            yield Change(param="training.quantization", value=precision, message=message)
    if 0 < (most := room.largest_length(longest)) < longest:
        message = f"Lower 'training.max_length' to {most:,}. Longer rows are cut."
        yield Change(param="training.max_length", value=most, message=message)
    yield from _lower_ranks(room, longest)


def _smaller_precisions(job: Job) -> Iterator[Precision]:
    source = job.facts.source
    for precision in source.precisions:
        held = source.in_precision(precision)
        suitable = all(why_unsuitable(each, held, job.spec.sharded) is None for each in job.trainables)
        if precision not in ("none", job.facts.entry.precision) and suitable:
            yield precision


def _lower_ranks(room: Room, longest: int) -> Iterator[Change]:
    (adapter, *others) = room.trainables
    if not isinstance(adapter, LoraAdapter) or others or not isinstance(adapter.r, int):
        return
    rank = adapter.r // 2
    while rank >= 1:
        lower = adapter.model_copy(update={"r": rank, "rank_pattern": {}})
        if replace(room, trainables=(lower,)).fit(longest).memory_plan:
            yield Change(param="adapter.r", value=rank, message=f"Lower 'adapter.r' to {rank}.")
            return
        rank //= 2
