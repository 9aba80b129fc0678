"""An adapter made of copies of PEFT's modules is PEFT's to the bit, and shares nothing with other jobs."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.methods.targets import rank_of
from tests.fixtures.engine.architectures import FAST, TINY
from tests.fixtures.engine.training import randomize
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters import low_rank
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.lora_config import lora_config
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.adapters.modules.template import TEMPLATES
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.base.base_model import ResidentBase

pytestmark = pytest.mark.family(2)

STEPS = 10
LORA = LoraAdapter(r=4, lora_alpha=8)
PATTERNS = {"rank_pattern": {"q_proj": 9, "layers.1.mlp.down_proj": 1}, "alpha_pattern": {"v_proj": 3}}


def lora(**options: Any) -> LoraAdapter:
    return LoraAdapter.model_validate({"r": 4, "lora_alpha": 8, **options})


COPIED: dict[str, LowRankAdapter] = {
    "defaults": LORA,
    "gaussian": lora(init_lora_weights="gaussian"),
    "rslora, dropout": lora(use_rslora=True, lora_dropout=0.1),
    "patterns": lora(**PATTERNS),
    "single modules": lora(target_modules=["q_proj", "model.layers.1.mlp.up_proj"]),
    "dora": lora(use_dora=True, **PATTERNS),
    "dylora": lora(dynamic_rank=True),
    "pissa": lora(init_lora_weights="pissa"),
    "pissa, which draws": lora(init_lora_weights="pissa_niter_2"),
    "olora": lora(init_lora_weights="olora", rank_pattern={"q_proj": 9}),
    "corda": lora(init_lora_weights="corda"),
    "eva": lora(init_lora_weights="eva"),
    "loftq": lora(init_lora_weights="loftq"),
}
BY_PEFT: dict[str, LowRankAdapter] = {
    "orthogonal": lora(init_lora_weights="orthogonal"),
    "adalora": AdaLoraAdapter(init_r=5, target_r=2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("biased")
    save_model(FAST["qwen 2, biases"](), folder)
    return folder


@pytest.fixture
def by_peft(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the adapters, by PEFT's name of their method, that PEFT has attached itself."""
    made: list[str] = []

    def attach(model: Any, config: Any, **options: Any) -> PeftModel:
        made.append(config.peft_type.value)
        return PeftModel(model, config, **options)

    monkeypatch.setattr(low_rank, "PeftModel", attach)
    return made


def load(folder: Path, **changes: Any) -> ResidentBase:
    return ResidentBase(TINY.model_copy(update=changes), folder, "0" * 64, torch.device("cpu"))


def initial(base: ResidentBase, spec: LowRankAdapter) -> InitialValues | None:
    """Return made-up first values for the initialisations that need some; EVA changes ranks and has no B."""
    if not isinstance(spec, LoraAdapter) or not spec.needs_initial_values:
        return None
    random, found = torch.Generator().manual_seed(5), {}
    shapes = projection_shapes(base.model, base.decoder.groups)
    eva = spec.init_lora_weights == "eva"
    for number, (name, (inputs, outputs)) in enumerate(shapes.items()):
        rank = rank_of(name, spec) + (number % 3 - 1) * eva
        found[f"{name}.lora_A"] = torch.randn(rank, inputs, generator=random)
        if not eva:
            found[f"{name}.lora_B"] = torch.randn(outputs, rank, generator=random)
    return found


def attach(base: ResidentBase, spec: LowRankAdapter, seed: int) -> TrainableAdapter:
    return TrainableAdapter(base, "job", spec, seed, STEPS, initial(base, spec))


def described(model: Any) -> dict[str, Any]:
    """Return class, options and the order of the parts of each module that PEFT has made."""
    found = {}
    for name, module in model.named_modules():
        if "lora_" in name or hasattr(module, "lora_A") or isinstance(module, PeftModel | BaseTuner):
            options = {name: each for name, each in vars(module).items() if name != "rankallocator"}
            variants = [type(each) for each in options.pop("lora_variant", {}).values()]
            parts = [list(options.pop(kind)) for kind in ("_modules", "_parameters", "_buffers")]
            found[name] = type(module), variants, parts, options
    return found | {"tree": vars(model.get_base_model())["peft_config"]}


def assert_the_same(ours: TrainableAdapter, theirs: TrainableAdapter, folder: Path) -> None:
    assert described(ours.plain_model) == described(theirs.plain_model)
    assert [*dict(ours.plain_model.named_modules())] == [*dict(theirs.plain_model.named_modules())]
    pairs = zip(ours.plain_model.named_parameters(), theirs.plain_model.named_parameters(), strict=True)
    for (name, own), (their_name, their) in pairs:
        assert (name, own.dtype, own.requires_grad) == (their_name, their.dtype, their.requires_grad)
        assert torch.equal(own, their), name
    assert torch.equal(ours.parameters.master, theirs.parameters.master)
    assert ours.parameters.extents == theirs.parameters.extents
    assert ours.parameters.kept.keys() == theirs.parameters.kept.keys()
    assert all(torch.equal(kept, theirs.parameters.kept[name]) for name, kept in ours.parameters.kept.items())
    for name, adapter in {"ours": ours, "theirs": theirs}.items():
        adapter.save(folder / name)
    files = sorted(path.name for path in (folder / "theirs").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    for name in files:
        assert (folder / "ours" / name).read_bytes() == (folder / "theirs" / name).read_bytes()


@pytest.mark.parametrize("spec", (COPIED | BY_PEFT).values(), ids=COPIED | BY_PEFT)
def test_an_adapter_is_the_same_to_the_bit_whichever_way_it_was_attached(
    spec: LowRankAdapter, folder: Path, tmp_path: Path, by_peft: list[str]
) -> None:
    base = load(folder)
    randomize(attach(base, spec, 1))
    ours = attach(base, spec, 2)
    assert len(by_peft) == (1 if spec in COPIED.values() else 2)
    assert_the_same(ours, attach(load(folder), spec, 2), tmp_path)


@pytest.mark.parametrize("spec", [LORA, COPIED["gaussian"], COPIED["dora"], COPIED["eva"]])
@pytest.mark.parametrize(
    "changes", [{"dtype": "bf16"}, {"quantization": "nf4"}, {"quantization": "int8"}], ids=str
)
def test_so_it_is_on_a_base_in_fewer_bits(
    spec: LowRankAdapter, changes: dict[str, str], folder: Path, tmp_path: Path, by_peft: list[str]
) -> None:
    base = load(folder, **changes)
    randomize(attach(base, spec, 1))
    ours = attach(base, spec, 2)
    assert len(by_peft) == 1
    assert_the_same(ours, attach(load(folder, **changes), spec, 2), tmp_path)


def test_so_it_is_where_weights_lie_the_other_way_round(tmp_path: Path, by_peft: list[str]) -> None:
    save_model(GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, n_positions=512), tmp_path)
    base = load(tmp_path)
    attach(base, LORA, 1)
    ours = attach(base, LORA, 2)
    assert len(by_peft) == 1
    assert_the_same(ours, attach(load(tmp_path), LORA, 2), tmp_path)


@pytest.mark.parametrize("name", ["defaults", "gaussian", "patterns", "dora"])
def test_the_first_values_are_those_of_a_fresh_model_of_peft(name: str, folder: Path) -> None:
    base, spec = load(folder), COPIED[name]
    attach(base, spec, 1)
    parameters = attach(base, spec, 2).parameters
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = AutoModelForCausalLM.from_pretrained(folder)
        theirs = PeftModel(model, lora_config(spec, "all-linear", STEPS))
    values = parameters.named(parameters.master)
    ours = {name: part for name, part in values.items() if "magnitude" not in name}
    assert len(ours) == 28
    for full_name, part in ours.items():
        module, _, kind = full_name.rpartition(".")
        layer = getattr(theirs.get_base_model().get_submodule(module), kind)["default"]
        assert torch.equal(part, layer.weight), full_name


@pytest.mark.parametrize("name", ["defaults", "dora", "patterns"])
def test_two_jobs_share_nothing_that_a_job_may_change(name: str, folder: Path) -> None:
    base = load(folder)
    adapters = [attach(base, COPIED[name], seed) for seed in (1, 2, 2)]
    frozen = {id(module) for module in base.model.modules()}
    seen: set[int] = set()
    for adapter in adapters:
        own = set[int]()
        for module in adapter.plain_model.modules():
            if id(module) not in frozen:
                own.add(id(module))
            if type(module).__module__.startswith("peft"):
                own |= {id(each) for each in vars(module).values() if isinstance(each, dict | list | set)}
        trained = [each for each in adapter.plain_model.parameters() if each.requires_grad]
        own |= {id(each) for each in trained} | {each.data_ptr() for each in trained}
        own |= {id(each) for each in adapter.plain_model.peft_config.values()}
        assert not own & seen
        seen |= own


def test_what_a_job_does_to_its_modules_reaches_no_other_job(folder: Path, tmp_path: Path) -> None:
    base = load(folder)
    attach(base, LORA, 1)
    for seed in (2, 3):
        adapter = attach(base, LORA, seed)
        model: Any = adapter.plain_model
        layer = model.get_base_model().model.layers[0].self_attn.q_proj
        layer.scaling["default"] = 7.0
        layer.lora_A["default"].register_forward_hook(lambda *_: None)
        layer.lora_A["another"] = nn.Linear(2, 2)
        adapter.config.rank_pattern["q_proj"] = 3
        adapter.config.target_modules.add("lm_head")
        model.base_model.targeted_module_names.clear()
    assert_the_same(attach(base, LORA, 4), attach(load(folder), LORA, 4), tmp_path)


def test_nothing_of_a_job_outlives_it_in_a_template(folder: Path) -> None:
    base = load(folder)
    kept: list[weakref.ref[Any]] = []
    for seed in (1, 2):
        adapter = attach(base, COPIED["dora"], seed)
        layer = adapter.plain_model.get_base_model().model.layers[0].self_attn.q_proj
        parts = [adapter.parameters, adapter.config, layer, layer.lora_A, layer.lora_A["default"].weight]
        kept += [weakref.ref(part) for part in (*parts, adapter.plain_model.get_base_model())]
        del adapter, layer, parts
    gc.collect()
    assert [part() for part in kept] == [None] * len(kept)


def test_a_template_keeps_no_base_model_alive(folder: Path) -> None:
    base = load(folder)
    for spec in (LORA, COPIED["dora"], LORA):
        attach(base, spec, 1)
    kept: list[weakref.ref[Any]] = [weakref.ref(base), weakref.ref(base.model)]
    kept += [weakref.ref(parameter) for parameter in base.model.parameters()]
    del base
    gc.collect()
    assert [part() for part in kept] == [None] * len(kept)


def test_after_a_layer_of_the_base_is_replaced_peft_attaches(folder: Path, by_peft: list[str]) -> None:
    base = load(folder)
    expected = attach(base, LORA, 2).parameters.master
    name = "model.layers.1.mlp.up_proj"
    base.model.set_submodule(name, nn.Linear(64, 96))
    for _ in range(2):
        adapter = attach(base, LORA, 2)
        layer: Any = adapter.plain_model.get_base_model().get_submodule(name)
        assert layer.base_layer is base.model.get_submodule(name)
        assert len(by_peft) == 2
        assert torch.equal(adapter.parameters.master, expected)


def test_the_options_used_last_are_kept(folder: Path, by_peft: list[str]) -> None:
    base = load(folder)
    attach(base, lora(r=1), 0)
    for rank in range(2, TEMPLATES + 1):
        attach(base, lora(r=rank), 0)
    attach(base, lora(r=1), 0)
    assert len(by_peft) == TEMPLATES
    attach(base, lora(r=TEMPLATES + 1), 0)
    attach(base, lora(r=1), 0)
    assert len(by_peft) == TEMPLATES + 1
    attach(base, lora(r=2), 0)
    assert len(by_peft) == TEMPLATES + 2
