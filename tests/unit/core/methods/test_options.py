"""The options of every method, compared with PEFT's own configuration."""

import dataclasses
import inspect
from enum import Enum
from typing import Any, get_args

import pytest
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora import config
from pydantic import TypeAdapter, ValidationError

from core.jobs.spec import BeyondThisRelease, Hyperparameters, JobSpec, LoraAdapter, read_spec
from core.methods.low_rank import CordaConfig, EvaConfig, LoraGAConfig
from core.methods.method import MethodOptions
from core.methods.not_offered import NOT_OFFERED
from core.methods.registry import METHODS, AdapterOptions
from core.options import Options

# PEFT has another default here, or one that does not train
OUR_DEFAULTS: dict[str, dict[str, Any]] = {
    "lora": {"r": 16, "lora_alpha": 32},
    "adalora": {"lora_alpha": 32},
    "prefix_tuning": {"num_virtual_tokens": 20},
    "prompt_tuning": {"num_virtual_tokens": 20},
    "p_tuning": {"num_virtual_tokens": 20},
    "delora": {"delora_lambda": 1},
    "unilora": {"theta_d_length": 131_072},
}
OUR_OWN = {"lora": {"dynamic_rank"}}  # options that PEFT does not have
REQUIRED = {"trainable_tokens": {"token_indices": [0, 7]}}
FILLED_IN_BY_THE_WORKER = {"adalora": {"total_step": 100}}
OF_PEFT = sorted(METHODS.keys() - {"full"})

HYPERPARAMETERS = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)


def configuration(method: str) -> type[PeftConfig]:
    found: type[PeftConfig] = PEFT_TYPE_TO_CONFIG_MAPPING[method.upper()]
    return found


def options(method: str, **changes: Any) -> MethodOptions:
    return METHODS[method].options(**{"type": method, **REQUIRED.get(method, {}), **changes})


def stored(adapter: dict[str, Any]) -> dict[str, Any]:
    spec = JobSpec(base_model="x", seed=1, hyperparameters=HYPERPARAMETERS)
    return spec.model_dump(mode="json") | {"adapter": adapter}


@pytest.mark.parametrize("method", OF_PEFT)
def test_every_option_is_peft_s_with_its_default_unless_the_default_is_ours(method: str) -> None:
    of_peft = {field.name: field for field in dataclasses.fields(configuration(method))}
    expected = {"target_modules": "all-linear"} | OUR_DEFAULTS.get(method, {})
    for name, field in METHODS[method].options.model_fields.items():
        if name == "type" or name in REQUIRED.get(method, {}):
            continue
        if name in OUR_OWN.get(method, ()):
            assert name not in of_peft, "it is PEFT's"
            continue
        theirs = of_peft[name]
        factory = theirs.default_factory
        default = theirs.default if factory is dataclasses.MISSING else factory()
        default = default.value if isinstance(default, Enum) else default
        if name == "target_modules":
            assert field.default in ("all-linear", default), name
        else:
            assert field.default == expected.get(name, default), name
            assert name not in OUR_DEFAULTS.get(method, {}) or field.default != default, "it is not ours"


@pytest.mark.parametrize("ours", [EvaConfig, CordaConfig, LoraGAConfig])
def test_the_options_of_an_initialisation_are_peft_s_with_its_defaults(ours: type[Options]) -> None:
    of_peft = {field.name: field.default for field in dataclasses.fields(getattr(config, ours.__name__))}
    assert {name: field.default for name, field in ours.model_fields.items()}.items() <= of_peft.items()


@pytest.mark.parametrize("method", OF_PEFT)
def test_peft_takes_the_defaults(method: str) -> None:
    ours = {"type"} | OUR_OWN.get(method, set())
    given = options(method).model_dump(exclude=ours) | FILLED_IN_BY_THE_WORKER.get(method, {})
    if given.get("target_modules") == "all-linear":
        given["target_modules"] = ["q_proj"]  # the worker names the layers
    assert configuration(method)(**given).peft_type == method.upper()


def test_every_method_of_peft_is_offered_or_has_a_reason_why_not() -> None:
    of_peft = {kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert METHODS.keys() - {"full"} == of_peft - NOT_OFFERED.keys()
    assert NOT_OFFERED.keys() <= of_peft
    assert all(NOT_OFFERED.values())


def test_the_union_has_every_method_and_no_other() -> None:
    union = get_args(get_args(AdapterOptions)[0])
    assert {one.model_fields["type"].default for one in union} == METHODS.keys()
    assert {method.options for method in METHODS.values()} == set(union)


def test_a_wrong_option_is_found_in_the_method_that_the_type_names() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AdapterOptions)
    for method in METHODS:
        with pytest.raises(ValidationError) as refused:
            adapter.validate_python({"type": method, "no_such_option": 1} | REQUIRED.get(method, {}))
        assert [found["loc"] for found in refused.value.errors()] == [(method, "no_such_option")]


def test_an_adapter_without_a_type_is_lora_s() -> None:
    spec = JobSpec.model_validate(stored({"r": 4}))
    assert spec.adapter == LoraAdapter(r=4)


@pytest.mark.parametrize(
    ("method", "changes", "field"),
    [
        ("lora", {"eva_config": {"rho": 1.0}}, "eva_config"),
        ("lora", {"init_lora_weights": "eva", "corda_config": {}}, "corda_config"),
        ("lora", {"target_modules": []}, "target_modules"),
        ("lora", {"target_parameters": ["experts.down_proj"], "lora_dropout": 0.1}, "lora_dropout"),
        ("lora", {"target_parameters": ["experts.down_proj"], "use_dora": True}, "use_dora"),
        (
            "lora",
            {"target_parameters": ["experts.down_proj"], "init_lora_weights": "eva"},
            "init_lora_weights",
        ),
        ("lora", {"target_parameters": ["experts.down_proj"], "dynamic_rank": True}, "dynamic_rank"),
        ("lora", {"init_lora_weights": "corda", "lora_ga_config": {}}, "lora_ga_config"),
        ("lora", {"lora_dropout": 0.1, "init_lora_weights": "lora_ga"}, "lora_dropout"),
        ("adalora", {"target_r": 8, "init_r": 4}, "target_r"),
        ("lora", {"use_dora": True, "init_lora_weights": "pissa_niter_4"}, "use_dora"),
        ("lora", {"lora_dropout": 0.1, "init_lora_weights": "olora"}, "lora_dropout"),
        ("lora", {"dynamic_rank": True, "init_lora_weights": "pissa"}, "dynamic_rank"),
        ("lora", {"dynamic_rank": True, "rank_pattern": {"q_proj": 4}}, "dynamic_rank"),
        ("lora", {"dynamic_rank": True, "use_dora": True}, "dynamic_rank"),
        ("ia3", {"target_modules": ["k_proj"], "feedforward_modules": ["down_proj"]}, "feedforward_modules"),
        ("lora", {"alora_invocation_tokens": [5], "use_dora": True}, "use_dora"),
        ("lora", {"modules_to_save": ["lm_head"], "lora_dropout": 0.1}, "lora_dropout"),
        ("lora", {"modules_to_save": ["lm_head"], "init_lora_weights": "eva"}, "init_lora_weights"),
        ("lora", {"trainable_token_indices": [1], "dynamic_rank": True}, "dynamic_rank"),
        (
            "lora",
            {"trainable_token_indices": [1], "alora_invocation_tokens": [5]},
            "alora_invocation_tokens",
        ),
        ("lora", {"ensure_weight_tying": True}, "ensure_weight_tying"),
        (
            "lora",
            {"alora_invocation_tokens": [5], "init_lora_weights": "loftq"},
            "alora_invocation_tokens",
        ),
        (
            "lora",
            {"alora_invocation_tokens": [5], "init_lora_weights": "pissa"},
            "alora_invocation_tokens",
        ),
        ("lora", {"layers_to_transform": [1]}, "layers_to_transform"),
        ("adalora", {"layers_to_transform": [1]}, "layers_to_transform"),
        ("boft", {"layers_to_transform": [1]}, "layers_to_transform"),
        ("lora", {"target_modules": ["q_proj"], "layers_pattern": ["layers"]}, "layers_pattern"),
        ("lora", {"init_lora_weights": "orthogonal", "r": 7}, "r"),
        ("lora", {"init_lora_weights": "orthogonal", "rank_pattern": {"q_proj": 3}}, "rank_pattern.q_proj"),
        ("boft", {"boft_block_size": 5, "boft_n_butterfly_factor": 2}, "boft_block_size"),
        (
            "boft",
            {"boft_block_size": 0, "boft_block_num": 6, "boft_n_butterfly_factor": 3},
            "boft_block_num",
        ),
        ("oft", {"r": 4}, "oft_block_size"),
        ("oft", {"oft_block_size": 0}, "oft_block_size"),
        ("boft", {"boft_block_num": 4}, "boft_block_num"),
        ("road", {"group_size": 33}, "group_size"),
        ("gralora", {"r": 32, "gralora_k": 3}, "gralora_k"),
        ("deft", {"para": True, "alpha": 16}, "alpha"),
        ("supertuning", {"lora_alpha": 4.0}, "lora_alpha"),
        ("vblora", {"topk": 4, "num_vectors": 3}, "topk"),
    ],
)
def test_options_that_contradict_each_other_are_found(
    method: str, changes: dict[str, Any], field: str
) -> None:
    assert [name for name, _ in options(method, **changes).contradictions()] == [field]


@pytest.mark.parametrize("method", METHODS)
def test_defaults_do_not_contradict_each_other(method: str) -> None:
    assert not list(options(method).contradictions())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_is_and_its_rate_may_be_asked_for(method: str) -> None:
    entry = METHODS[method]
    assert entry.title
    assert entry.good_for
    assert entry.cost
    assert entry.runtimes
    assert inspect.getdoc(entry.options) != inspect.getdoc(MethodOptions)
    assert 0 < entry.learning_rate <= 1


@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "of-a-newer-release"},
        {"type": "lora", "of_a_newer_release": True},
        {"type": "lora", "exclude_modules": ["q_proj"]},
        {"type": "lora", "init_lora_weights": "of a newer release"},
        {"type": "lora", "layers_to_transform": 1},
        {"type": "lora", "layers_pattern": ["layers.*"]},
        {"type": "prompt_tuning", "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Be brief."},
        {"type": "p_tuning", "encoder_reparameterization_type": "LSTM"},
        {"type": "vera", "save_projection": False},
        {"type": "oft", "coft": True, "eps": 1e-4},
        {"type": "loha", "module_dropout": 0.1},
    ],
)
def test_a_worker_reads_no_job_that_it_would_train_otherwise(adapter: dict[str, Any]) -> None:
    """PEFT would train some of these, and no test compares our results with its."""
    assert read_spec(stored({"type": "lora", "r": 4})).low_rank == LoraAdapter(r=4)
    with pytest.raises(BeyondThisRelease):
        read_spec(stored(adapter))
