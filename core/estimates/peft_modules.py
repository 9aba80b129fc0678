"""What a LoRA job trains beside A and B: whole modules, and the embeddings of single tokens.

PEFT's own modules compute such a job (`worker/engine/adapters/modules/peft_adapter.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.estimates.adapters import FP32, StateBytes, inputs_of
from core.estimates.shapes import Load, ModelShape, PeftModules
from core.methods.low_rank import LoraAdapter, LowRankAdapter
from core.methods.targets import is_target

HEAD, EMBEDDING = "lm_head", "embed_tokens"


@dataclass(frozen=True)
class Beside:
    """What is trained beside A and B: so many numbers, on a base that computes with `number_bytes`."""

    numbers: int
    number_bytes: int
    modules: PeftModules

    def added_to(self, load: Load) -> Load:
        """Return the load of the job, which trains alone, from that of its A and B with moments in fp32.

        P numbers have adapter = (4 + b) P, gradients = 4 P, moments = 8 P; in fp32 adapter = 4 P.
        """
        P, copy = self.numbers, 0 if self.number_bytes == FP32 else self.number_bytes
        state = load.state + StateBytes((FP32 + copy) * P, FP32 * P, 2 * FP32 * P)
        return replace(load, state=state, peft=self.modules)


def beside_of(model: ModelShape, adapter: LowRankAdapter) -> Beside | None:
    """Return what the adapter trains beside A and B; None if it is nothing, or has no model of its memory.

    The head's gradient of one chunk is added to that of the chunks before. If head and embedding are one, it
    waits for the embedding's. Trained tokens are put into a copy of the embedding, and into one of the head
    if the two are one. Their gradients are picked out of whole ones.
    """
    if (
        not has_memory_model(model, adapter)
        or not isinstance(adapter, LoraAdapter)
        or not adapter.trained_beside
    ):
        return None
    modules, tokens = dict(_modules(model)), len(set(adapter.trainable_token_indices or ()))
    whole = {name for given in adapter.modules_to_save or () for name in modules if is_target(name, [given])}
    embedding = f"{model.body}.{EMBEDDING}" in whole
    keeps_tied = model.tied and embedding and adapter.ensure_weight_tying
    merges_head = model.tied and tokens > 0
    trains_head = HEAD in whole or keeps_tied or merges_head
    held = PeftModules(
        inputs=inputs_of(model.all_projections, adapter, are_copied=model.number_bytes != FP32)
        / model.layers,
        trains_head=trains_head,
        at_head=2 * trains_head + merges_head,
        waiting=int(keeps_tied),
        at_embedding=2 if tokens else int(embedding),
    )
    numbers = sum(modules[name] for name in whole) + tokens * model.hidden
    return Beside(numbers, model.number_bytes, held)


def has_memory_model(model: ModelShape, adapter: LowRankAdapter) -> bool:
    """Return whether the shape has all that is trained as a whole. DoRA beside it has no model."""
    if not isinstance(adapter, LoraAdapter) or not adapter.trained_beside:
        return True
    modules = dict(_modules(model))
    known = (any(is_target(name, [given]) for name in modules) for given in adapter.modules_to_save or ())
    return all(known) and not adapter.use_dora


def _modules(model: ModelShape) -> Iterator[tuple[str, int]]:
    """Yield the modules that may be trained as a whole, with their numbers."""
    ends = model.vocabulary * model.hidden
    yield f"{model.body}.{EMBEDDING}", ends
    yield HEAD, ends
    yield f"{model.body}.norm", model.hidden
    for number, layer in enumerate(model.each_layer):
        names = ("input_layernorm", "post_attention_layernorm")
        yield from ((f"{model.body}.layers.{number}.{name}", model.hidden) for name in names)
        for name, (inputs, outputs) in layer.projections.items():
            yield f"{model.body}.layers.{number}.{name}", inputs * outputs
