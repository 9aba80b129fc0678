"""The estimate of a job: what its specification takes on some devices, as far as that is known."""

from collections.abc import Iterator, Sequence

from api.job_estimates.device_estimate import Job, on_device, shape_on
from api.job_estimates.disk import disk_of
from api.job_estimates.facts import Facts
from api.job_estimates.fit import Trainable, trained_numbers
from api.job_estimates.sampling import sampled_tokens, sampling_operations, with_answers
from api.job_estimates.work import forward_operations, training_operations
from core.estimates.adapters import FP32, StateBytes
from core.estimates.job.devices import Machine
from core.estimates.job.report import DiskUse, Estimate, Operations, Steps, Tokens
from core.estimates.peft_modules import has_memory_model
from core.estimates.shapes import BF16, ModelShape
from core.jobs.evaluation_schedule import EVAL_EXAMPLES, Schedule, eval_steps
from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter
from core.methods.whole import FullTuning
from core.objectives.sampling import SamplingOptions


def estimate(spec: JobSpec, facts: Facts, machines: Sequence[Machine], with_options: bool) -> Estimate:
    """Return the estimate on each of the machines. `with_options` also tries other methods there."""
    stored = facts
    if isinstance(spec.objective, SamplingOptions):
        facts = with_answers(facts, spec.objective)
    steps = _steps(spec, facts, stored.training.exact)
    # What does not depend on the device is told of bf16, which all cards compute in
    model = shape_on(facts, facts.entry, None, spec.sharded)
    trainables = _trainables(spec, model)
    work = _work(spec, facts, steps, model, trainables) if model and trainables else None
    job = Job(spec, facts, trainables, steps.count, steps.evaluations, work)
    return Estimate(
        base_model=spec.base_model,
        method=spec.adapter.type,
        quantization=spec.training.quantization or facts.entry.precision,
        tokens=_tokens(spec, facts),
        steps=steps,
        operations=work,
        disk=_disk(spec, stored, steps, model, trainables) if model and trainables else None,
        devices=[on_device(job, machine, with_options) for machine in machines],
        unknown=list(_unknown(spec, facts, model, trainables)),
    )


def _trainables(spec: JobSpec, model: ModelShape | None) -> tuple[Trainable, ...]:
    """Return what is trained together, or nothing if its memory has no model."""
    adapters = [candidate.adapter for candidate in spec.candidates]
    known = [
        each
        for each in adapters
        if isinstance(each, FullTuning)
        or (isinstance(each, LoraAdapter | AdaLoraAdapter) and (not model or has_memory_model(model, each)))
    ]
    return tuple(known) if len(known) == len(adapters) else ()


def _steps(spec: JobSpec, facts: Facts, exact: bool) -> Steps:
    per_epoch = spec.hyperparameters.steps_per_epoch(max(1, facts.training.examples))
    count = per_epoch * spec.hyperparameters.n_epochs
    evaluations = sum(_evaluations(spec, facts, per_epoch))
    return Steps(count=count, per_epoch=per_epoch, evaluations=evaluations, exact=exact)


def _evaluations(spec: JobSpec, facts: Facts, per_epoch: int) -> tuple[int, int]:
    """Return the evaluations on all validation rows, and those on a few of them."""
    wholes, parts = _schedule(spec, facts, per_epoch).left(0)
    if isinstance(spec.objective, SamplingOptions):
        return wholes + 1, parts  # the base model's answers are the first
    return wholes, parts


def _schedule(spec: JobSpec, facts: Facts, per_epoch: int) -> Schedule:
    rows = facts.validation
    few = min(rows.examples, EVAL_EXAMPLES) * rows.rows_per_example * rows.mean if rows else 0
    return Schedule(
        last_step=per_epoch * spec.hyperparameters.n_epochs,
        steps_per_epoch=per_epoch,
        eval_steps=_eval_steps(spec, per_epoch),
        whole_always=spec.publishes_best or isinstance(spec.objective, SamplingOptions),
        whole_tokens=rows.tokens if rows else 0,
        part_tokens=round(few),
    )


def _eval_steps(spec: JobSpec, per_epoch: int) -> int:
    own = spec.objective.eval_interval if isinstance(spec.objective, SamplingOptions) else None
    return own or eval_steps(spec.training, per_epoch)


def _tokens(spec: JobSpec, facts: Facts) -> Tokens:
    rows, epochs = facts.training, spec.hyperparameters.n_epochs
    share, asked = facts.computed_share, spec.objective
    return Tokens(
        count=epochs * rows.tokens,
        exact=rows.exact,
        least=epochs * rows.least,
        most=epochs * rows.most,
        computed=None if share is None else round(share * epochs * rows.tokens),
        per_epoch=rows.tokens,
        sampled=epochs * sampled_tokens(rows, asked) if isinstance(asked, SamplingOptions) else None,
        longest_row=rows.longest,
        validation=facts.validation.tokens if facts.validation else 0,
    )


def _work(
    spec: JobSpec, facts: Facts, steps: Steps, model: ModelShape, trainables: tuple[Trainable, ...]
) -> Operations:
    """Return the operations of the job, with nothing computed again."""
    rows = facts.training
    computed = (facts.computed_share or 1.0) * rows.tokens * spec.hyperparameters.n_epochs
    whole = isinstance(trainables[0], FullTuning)
    training = sum(
        computed
        * training_operations(model, rows.usual_row, trained_numbers(model.of_a_token, each), whole=whole)
        for each in trainables
    )
    if spec.objective.needs_reference:  # the reference's log-probabilities, in the first epoch
        training += rows.tokens * forward_operations(model, rows.usual_row)
    if spec.objective.type == "kto":  # a pass before each step finds its weights
        training += computed * forward_operations(model, rows.usual_row)
    evaluation = len(trainables) * _evaluation(spec, facts, steps, model)
    sampling = 0.0
    if isinstance(spec.objective, SamplingOptions):
        sampling = spec.hyperparameters.n_epochs * sampling_operations(model, rows, spec.objective)
    return Operations(training=training, evaluation=evaluation, sampling=sampling)


def _evaluation(spec: JobSpec, facts: Facts, steps: Steps, model: ModelShape) -> float:
    """Return the operations of evaluations: whole ones at the ends of epochs, others of few rows."""
    if facts.validation is None:
        return 0.0
    schedule = _schedule(spec, facts, steps.per_epoch)
    wholes, parts = _evaluations(spec, facts, steps.per_epoch)
    if isinstance(spec.objective, SamplingOptions):
        return wholes * sampling_operations(model, facts.validation, spec.objective)
    tokens = wholes * schedule.whole_tokens + parts * schedule.part_tokens
    return tokens * forward_operations(model, facts.validation.usual_row)


def _disk(
    spec: JobSpec, facts: Facts, steps: Steps, model: ModelShape, trainables: tuple[Trainable, ...]
) -> DiskUse:
    trained = sum(trained_numbers(model, each) for each in trainables)
    whole = isinstance(trainables[0], FullTuning)
    result = (BF16 if whole else FP32) * trained // len(trainables)
    files = [facts.training, *([facts.validation] if facts.validation else [])]
    in_fp32 = StateBytes(adapter=FP32 * trained, moments=2 * FP32 * trained)
    state = in_fp32.with_moments(in_eight_bits=spec.training.has_eight_bit_moments)
    samples = isinstance(spec.objective, SamplingOptions)
    promised = (
        steps.evaluations - 1 if samples else spec.hyperparameters.n_epochs
    )  # none before the first step
    return disk_of(files, state.total, result, promised, spec.publishes_best)


def _unknown(
    spec: JobSpec, facts: Facts, model: ModelShape | None, trainables: Sequence[Trainable]
) -> Iterator[str]:
    if facts.configuration is None:
        yield (
            f"Memory, disk and time: the configuration of {spec.base_model} is not on the API's machine. A "
            "worker fetches it with the first job; or keep the model in a folder that the API can read."
        )
    elif model is None:
        yield f"Memory, disk and time: the layers of {spec.base_model} are of no kind that estimates know."
    if not trainables:
        yield f"Memory, disk and time: the memory of the method '{spec.adapter.type}' has no model yet."
    if spec.sampled_tokens:
        yield (
            "Time and price: how fast answers are sampled has not been measured, and graders or a teacher "
            "take their own time."
        )
        yield (
            "The exact number of tokens: the model decides where its answers end. Each is counted with all "
            "of its 'max_completion_tokens'."
        )
        yield "The memory of the cache with which answers are sampled, which is not a part of the peak."
    if spec.preparation is not None:
        yield "The exact number of tokens: the rows are drawn and made when the job reads the file."
    elif not facts.training.exact and not spec.sampled_tokens:
        yield (
            "The exact number of tokens: nobody has rendered the training file with this base model yet. It "
            "is known once a job has read the file, or a check of the file with this base model."
        )
