"""Every accepted architecture trains as transformers with PEFT trains it, on each of the paths."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaForCausalLM, PretrainedConfig
from transformers.models.granitemoehybrid import modeling_granitemoehybrid
from transformers.models.lfm2 import modeling_lfm2
from transformers.models.qwen3_5 import modeling_qwen3_5

from core.errors import JobError
from core.estimates.expected_path import expected_path
from core.jobs.spec import LoraAdapter
from tests.fixtures.engine.architectures import (
    FAST,
    PLAIN,
    PORTABLE,
    STATES,
    TINY,
    tiny_config,
)
from tests.fixtures.engine.few_bits import in_whole_blocks
from tests.fixtures.engine.training import evaluate
from tests.fixtures.engine.wrappers import FAST_WRAPPERS, PLAIN_WRAPPERS, PORTABLE_WRAPPERS
from tests.fixtures.models.tiny import named_class, save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.choose import choose_decoder
from worker.engine.base.miniature import why_not_fast
from worker.engine.base.quantisation import quantise_embeddings, quantization_config
from worker.engine.base.trial import run_trial
from worker.engine.batch.micro_batch import MicroBatch, Segment, Span
from worker.engine.decoders.head import Head, head_losses
from worker.engine.decoders.portable import row_axes
from worker.engine.kernels import transformers_attention
from worker.engine.kernels.states.in_transformers import FUNCTIONS
from worker.engine.kernels.transformers_attention import (
    NAME,
    SegmentLayout,
    attend,
    attending_in,
    current_layout,
)
from worker.engine.step.context import PassContext
from worker.rows.row import Row

pytestmark = [pytest.mark.slow, pytest.mark.family(3)]

CPU = torch.device("cpu")
LEARNT_FROM = 3  # so that tokens of shared beginnings are supervised too

Tokens = tuple[int, ...]
Chain = tuple[Tokens, ...]
"""A row, cut into parts; rows with the same first parts share these."""


def tokens(count: int, seed: int) -> Tokens:
    return tuple(np.random.default_rng(seed).integers(3, 300, count).tolist())


BEGINNING, MIDDLE = tokens(7, 0), tokens(4, 1)
ROWS: dict[str, list[Chain]] = {
    "one": [
        (BEGINNING, MIDDLE, tokens(8, 2)),
        (BEGINNING, tokens(9, 3)),
        (BEGINNING, MIDDLE, tokens(1, 4)),
        (BEGINNING, MIDDLE),  # ends in the middle of other rows
        (tokens(14, 5),),
    ],
    "other": [(tokens(12, 6),), (BEGINNING, tokens(6, 7)), (BEGINNING, tokens(5, 8))],
}
ALMOST_A_CHUNK, FURTHER = tokens(63, 10), tokens(66, 11)
ROWS_OF_ALL_LENGTHS: dict[str, list[Chain]] = {
    "one": [
        *((tokens(length, length),) for length in (1, 3, 64, 65)),
        (ALMOST_A_CHUNK,),
        (ALMOST_A_CHUNK, tokens(1, 12)),
        (ALMOST_A_CHUNK, FURTHER, tokens(1, 13)),  # 130 tokens
        (ALMOST_A_CHUNK, FURTHER, tokens(64, 14)),
        (ALMOST_A_CHUNK, FURTHER, tokens(2, 15), tokens(1, 16)),
        (ALMOST_A_CHUNK, FURTHER, tokens(2, 15), tokens(70, 17)),
    ],
    "other": [(tokens(130, 18),), *ROWS["other"]],
}


def lay(rows_of: Mapping[str, Sequence[Chain]]) -> MicroBatch:
    """Lay out one micro-batch, in which every common beginning stands once for each adapter."""
    axis: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    supervised: list[tuple[int, int, float]] = []
    adapter_tokens = {}
    for adapter, rows in rows_of.items():
        first = len(axis)
        spans: dict[Chain, Span] = {}
        weight = 1 / sum(max(0, len(sum(row, ())) - 1 - LEARNT_FROM) for row in rows)
        for row in rows:
            for depth, part in enumerate(row):
                if row[: depth + 1] not in spans:
                    before = len(sum(row[:depth], ()))
                    span = len(axis), len(axis) + len(part)
                    segments.append(Segment(*span, tuple(spans[row[:d]] for d in range(1, depth + 1))))
                    positions += range(before, before + len(part))
                    axis += part
                    spans[row[: depth + 1]] = span
            places = [place for d in range(len(row)) for place in range(*spans[row[: d + 1]])]
            labels = sum(row, ())[1:]
            supervised += [(p, t, weight) for p, t in list(zip(places, labels, strict=False))[LEARNT_FROM:]]
        adapter_tokens[adapter] = slice(first, len(axis))
    supervised_S, labels_S, weights_S = zip(*sorted(supervised), strict=True)
    return MicroBatch(
        tokens_T=torch.tensor(axis),
        positions_T=torch.tensor(positions),
        segments=segments,
        adapter_tokens=adapter_tokens,
        supervised_S=torch.tensor(supervised_S),
        labels_S=torch.tensor(labels_S),
        weights_S=torch.tensor(weights_S),
        rows_S=torch.zeros(len(weights_S), dtype=torch.long),
    )


def load(folder: Path, **catalog: Any) -> ResidentBase:
    return ResidentBase(TINY.model_copy(update=catalog), folder, "0" * 64, CPU)


def leaf_names(base: ResidentBase) -> list[str]:
    return sorted(
        {name.rpartition(".")[2] for group in base.decoder.groups.values() for name in group.columns}
    )


def attach_two(base: ResidentBase) -> dict[str, TrainableAdapter]:
    """Attach two adapters of different ranks to different layers. B is not 0, where many gradients vanish."""
    specs = {
        "one": LoraAdapter(r=4, lora_alpha=8),
        "other": LoraAdapter(r=2, lora_alpha=6, target_modules=leaf_names(base)[:2]),
    }
    adapters = {name: TrainableAdapter(base, name, spec, 0) for name, spec in specs.items()}
    for adapter in adapters.values():
        with torch.no_grad():
            adapter.parameters.master.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
        adapter.parameters.refresh()
    return adapters


def loss_and_gradients(
    base: ResidentBase, adapters: Mapping[str, TrainableAdapter], rows: Mapping[str, Sequence[Chain]]
) -> tuple[dict[str, float], dict[str, dict[str, Tensor]]]:
    """Return the engine's results for one micro-batch, by adapter; gradients have the parameters' names."""
    batch, decoder = lay(rows), base.decoder
    hidden_SD = decoder.hidden(batch, {name: adapters[name].low_ranks() for name in rows})
    losses = head_losses(hidden_SD, decoder.head_weight, decoder.softcap, batch.labels_S, batch.weights_S)
    losses.weighted_S.sum().backward()
    means, gradients = {}, {}
    for name, tokens_of in batch.adapter_tokens.items():
        mine = (batch.supervised_S >= tokens_of.start) & (batch.supervised_S < tokens_of.stop)
        means[name] = losses.nll_S[mine].mean().item()
        gradients[name] = {
            parameter.replace(".default.", "."): tensor.grad.clone()
            for parameter, tensor in adapters[name].plain_model.get_base_model().named_parameters()
            if tensor.grad is not None
        }
        adapters[name].parameters.gradient.zero_()
    return means, gradients


def loss_and_gradients_of_peft(
    base_model: Any, adapter: Path, rows: Sequence[Chain]
) -> tuple[float, dict[str, Tensor]]:
    """Return the results of transformers and PEFT with the saved adapter, for each row on its own."""
    model = PeftModel.from_pretrained(base_model, adapter, is_trainable=True)
    losses = []
    for row in rows:
        ids = torch.tensor(sum(row, ()))
        logits = model(input_ids=ids[None], use_cache=False).logits[0, LEARNT_FROM:-1]
        losses.append(F.cross_entropy(logits.float(), ids[LEARNT_FROM + 1 :], reduction="none"))
    loss = torch.cat(losses).mean()
    loss.backward()
    return loss.item(), {
        name.removeprefix("base_model.model.").replace(".default.", "."): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_same_gradients(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert (ours[name] - expected).norm() < tolerance * expected.norm().clamp_min(1e-6), name


PATHS = [
    pytest.param(make, path, id=name)
    for path, models in {
        "fast": FAST | FAST_WRAPPERS,
        "portable": PORTABLE | PORTABLE_WRAPPERS,
        "plain": PLAIN | PLAIN_WRAPPERS,
    }.items()
    for name, make in models.items()
]


@pytest.mark.parametrize(("make", "path"), PATHS)
def test_two_jobs_with_shared_beginnings_equal_each_in_transformers_with_peft(
    make: Callable[[], PretrainedConfig], path: str, tmp_path: Path
) -> None:
    save_model(make(), tmp_path)
    base = load(tmp_path)
    assert base.decoder.path == path
    assert expected_path(json.loads((tmp_path / "config.json").read_text()), TINY.max_length).path == path
    assert (base.slow_path_warning is not None) == (path == "plain")
    adapters = attach_two(base)
    rows_of = ROWS_OF_ALL_LENGTHS if make in STATES.values() else ROWS
    losses, gradients = loss_and_gradients(base, adapters, rows_of)
    for name, adapter in adapters.items():
        adapter.save(tmp_path / name)
        plain = named_class(tmp_path).from_pretrained(tmp_path, dtype=torch.float32)
        expected, expected_gradients = loss_and_gradients_of_peft(plain, tmp_path / name, rows_of[name])
        assert losses[name] == pytest.approx(expected, rel=1e-5)
        assert_same_gradients(gradients[name], expected_gradients, 3e-5)
        whole = [np.array(sum(row, ()), dtype=np.int32) for row in rows_of[name]]
        rows = [Row(line, ids, np.arange(len(ids)) > LEARNT_FROM) for line, ids in enumerate(whole)]
        assert evaluate(PassContext(base, max_tokens=30), adapter, rows).loss == pytest.approx(
            expected, rel=1e-5
        )


@pytest.mark.parametrize("name", ["gemma 3, windows in some layers", "qwen 3, norms of queries"])
def test_in_bf16_the_losses_are_those_of_fp32_to_rounding(name: str, tmp_path: Path) -> None:
    """Gemma's norms multiply in fp32 whatever the base computes in."""
    save_model(FAST[name](), tmp_path)
    bases = [load(tmp_path, dtype=dtype) for dtype in ("fp32", "bf16")]
    exact, rounded = (loss_and_gradients(base, attach_two(base), ROWS)[0] for base in bases)
    assert rounded == pytest.approx(exact, rel=0.05)


def test_row_by_row_no_row_runs_twice() -> None:
    """One of the eight rows ends in the middle of other rows, so it needs no span of its own."""
    assert len(row_axes(lay(ROWS).segments, CPU)) == 7


QUANTISED = {
    "qwen 2, biases": "fast",
    "phi 3, fused projections": "fast",
    "granite, scaled logits": "portable",
}


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize(("name", "path"), QUANTISED.items(), ids=QUANTISED)
def test_jobs_on_a_quantised_base_equal_peft_on_the_same_weights(
    name: str, path: str, quantization: Any, tmp_path: Path
) -> None:
    save_model(in_whole_blocks((FAST | PORTABLE)[name]()), tmp_path)
    base = load(tmp_path, quantization=quantization)
    assert base.decoder.path == path
    adapters = attach_two(base)
    losses, gradients = loss_and_gradients(base, adapters, ROWS)
    for name, adapter in adapters.items():
        adapter.save(tmp_path / name)
        same = AutoModelForCausalLM.from_pretrained(
            tmp_path,
            dtype=torch.float32,
            quantization_config=quantization_config(quantization, torch.float32, "tiny"),
            device_map={"": CPU},
        ).train()  # so that bitsandbytes multiplies with a gradient
        if quantization == "nf4":
            quantise_embeddings(same, torch.float32)
        expected, expected_gradients = loss_and_gradients_of_peft(same, tmp_path / name, ROWS[name])
        assert losses[name] == pytest.approx(expected, rel=1e-5)
        assert_same_gradients(gradients[name], expected_gradients, 3e-5)
        source = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
        unquantised, _ = loss_and_gradients_of_peft(source, tmp_path / name, ROWS[name])
        assert losses[name] == pytest.approx(unquantised, rel=0.1)


def test_a_base_that_goes_row_by_row_cannot_be_spread_over_devices(tmp_path: Path) -> None:
    save_model(PLAIN["phi 3, a rotation by the longest row"](), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with pytest.raises(JobError, match="its rows change each other") as refused:
        choose_decoder(model, TINY.max_length, sharded=True)
    assert refused.value.param == "training.fsdp"


@pytest.mark.parametrize(
    ("forgotten", "make"),
    [
        (
            "sliding_window",
            tiny_config("Gemma2", head_dim=16, sliding_window=400),
        ),  # longer than any row of the trial
        ("s_aux", FAST["gpt-oss, sinks and experts"]),
        ("softcap", PORTABLE["gemma 2, capped scores and logits"]),
        ("prefix", PORTABLE["granite, scaled logits"]),
    ],
)
def test_an_attention_that_forgets_something_does_not_pass_the_trial(
    forgotten: str, make: Callable[[], PretrainedConfig], tmp_path: Path
) -> None:
    """The trial compares results, so it finds a mistake of ours as it finds a model that cannot be packed."""

    def forgetful(*args: Any, **options: Any) -> Any:
        if forgotten != "prefix":
            return attend(*args, **{**options, forgotten: None})
        layout = transformers_attention._layout.get()
        segments = [Segment(segment.start, segment.end) for segment in layout.segments]
        with attending_in(SegmentLayout(segments, layout.positions_T)):
            return attend(*args, **options)

    model = plain_model(make(), tmp_path)
    assert run_trial(model, Head.of(model), TINY.max_length).reason is None
    AttentionInterface.register(NAME, forgetful)
    try:
        assert run_trial(plain_model(make(), tmp_path), Head.of(model), TINY.max_length).reason
    finally:
        AttentionInterface.register(NAME, attend)


@pytest.mark.parametrize("forgotten", ["beginnings", "where rows end"])
@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("lfm 2, short convolutions", modeling_lfm2, "causal_conv1d_fn"),
        ("qwen 3.5, delta rule", modeling_qwen3_5, "torch_chunk_gated_delta_rule"),
        ("granite 4 moe", modeling_granitemoehybrid, "mamba2_chunk_scan"),
    ],
)
def test_a_state_that_forgets_segments_does_not_pass_the_trial(
    name: str,
    module: ModuleType,
    function: str,
    forgotten: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, ours = vars(module)[function], FUNCTIONS[function]

    def forgetful(own: Any, *args: Any, **options: Any) -> Any:
        if (layout := current_layout()) is None:
            return own(*args, **options)
        ends = [len(layout.positions_T)] if forgotten != "beginnings" else [s.end for s in layout.segments]
        segments = [Segment(*span) for span in pairwise((0, *ends))]
        with attending_in(SegmentLayout(segments, layout.positions_T)):
            return ours(own, *args, **options)

    monkeypatch.setitem(vars(module), function, known.args[0] if isinstance(known, partial) else known)
    monkeypatch.setitem(FUNCTIONS, function, forgetful)
    save_model(STATES[name](), tmp_path)
    assert load(tmp_path).decoder.path == "plain"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(tiny_config("Arcee"), "its layers have no mlp.gate_proj", id="no gate"),
        pytest.param(PORTABLE["granite, scaled logits"], "its gate is GELUActivation", id="another gate"),
        pytest.param(tiny_config("Olmo", clip_qkv=None), "OlmoLayerNorm", id="norms that take the mean away"),
        pytest.param(
            PORTABLE["gemma 4, experts beside the MLP"], "router.scale", id="experts beside the MLP"
        ),
        pytest.param(
            tiny_config("GraniteSWA", layer_types=["full_attention"] * 2),
            "rotary_embs",
            id="a parameter that nothing reads",
        ),
        pytest.param(
            PORTABLE["exaone 4, rotation only within windows"],
            "computes the last layer",
            id="rotation in some layers",
        ),
    ],
)
def test_a_model_with_an_unknown_feature_leaves_the_fast_path_with_the_reason(
    make: Callable[[], PretrainedConfig], reason: str, tmp_path: Path
) -> None:
    assert reason in (why_not_fast(plain_model(make(), tmp_path), TINY.max_length) or "")


def halved(layer: Any) -> Any:
    """Return the layer's forward pass with a factor that no table has."""
    forward = layer.forward
    return lambda *args, **options: forward(*args, **options) / 2


class OfTomorrow(LlamaForCausalLM):
    """A Llama with a factor that stands in no configuration."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        for layer in self.model.layers:
            layer.forward = halved(layer)


def test_a_feature_that_is_no_module_and_no_parameter_shows_in_the_miniature() -> None:
    config = FAST["llama"]()
    assert why_not_fast(LlamaForCausalLM(config), TINY.max_length) is None
    decoder, why_not_faster = choose_decoder(OfTomorrow(config).eval().requires_grad_(False), TINY.max_length)
    assert decoder.path == "portable"
    assert why_not_faster == "the fast path computes layer 0 in another way than transformers"


def test_a_rotation_that_changes_with_the_length_is_fast_if_no_row_is_so_long(tmp_path: Path) -> None:
    model = plain_model(FAST["phi 4 mini, rows within the first context"](), tmp_path)
    assert why_not_fast(model, 512) is None
    assert why_not_fast(model, 513) is not None


def plain_model(config: PretrainedConfig, folder: Path) -> Any:
    save_model(config, folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(tiny_config("Phi"), "logits are not", id="a bias of the head"),
        pytest.param(
            tiny_config("Gemma3Text", head_dim=16, use_bidirectional_attention=True),
            "its tokens attend to the tokens after them",
            id="an encoder",
        ),
    ],
)
def test_a_model_that_no_path_computes_is_refused(
    make: Callable[[], PretrainedConfig], reason: str, tmp_path: Path
) -> None:
    save_model(make(), tmp_path)
    with pytest.raises(JobError, match=reason) as refusal:
        load(tmp_path)
    assert refusal.value.code == "unsupported_architecture"


def test_a_quantised_base_without_bitsandbytes_says_what_to_install(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(JobError, match="pip install bitsandbytes"):
        load(tiny_folder, quantization="nf4")


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, r"source weights are quantised \(gptq\)"),
        ({"model_type": "of_tomorrow"}, "of_tomorrow"),
    ],
)
def test_weights_that_cannot_be_trained_on_are_refused_when_they_are_loaded(
    field: dict[str, Any], reason: str, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | field))
    with pytest.raises(JobError, match=reason) as refusal:
        load(tmp_path)
    assert refusal.value.code == "unsupported_architecture"
    assert str(tmp_path) not in refusal.value.message
