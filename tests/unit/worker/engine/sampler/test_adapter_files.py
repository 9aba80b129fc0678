"""Adapters are loaded from PEFT's files, or refused with the reason; the least recently used ones leave."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier, Event, Thread
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.methods import spec_of
from tests.fixtures.engine.sampling import saved_adapter
from tests.fixtures.processes.locks import NotingLock
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.adapters import cache as cache_module
from worker.engine.sampler.adapters.cache import AdapterCache
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.engine.sampler.adapters.files import load_adapter
from worker.engine.sampler.adapters.served import ServedAdapter

Tensors = dict[str, torch.Tensor]
A = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
B = A.replace("lora_A", "lora_B")


@pytest.fixture
def folder(base: ResidentBase, tmp_path: Path) -> Path:
    return saved_adapter(base, LoraAdapter(r=4), tmp_path / "adapter")


def rewrite(folder: Path, change: Callable[[Tensors], None]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


def reconfigure(folder: Path, **options: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **options}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "not finite": (lambda f: rewrite(f, lambda t: t[A].view(-1)[3].fill_(float("nan"))), "not finite"),
    "infinite": (lambda f: rewrite(f, lambda t: t[A].view(-1)[3].fill_(float("inf"))), "not finite"),
    "wrong shape": (lambda f: rewrite(f, lambda t: t.update({A: torch.zeros(4, 7)})), r"\[4, 7\]"),
    "no matrix": (lambda f: rewrite(f, lambda t: t.update({A: torch.tensor(1.0)})), "do not fit"),
    "no ranks": (lambda f: rewrite(f, lambda t: t.update({A: t[A][:0], B: t[B][:, :0]})), "have no ranks"),
    "a factor missing": (lambda f: rewrite(f, lambda t: t.pop(A)), "only one of the two"),
    "no weights": (lambda f: rewrite(f, lambda t: t.clear()), "no weights"),
    "cut off": (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\0" * 40), "damaged"),
    "file missing": (lambda f: (f / "adapter_model.safetensors").unlink(), "missing"),
    "no json": (lambda f: (f / "adapter_config.json").write_text("{"), "adapter_config.json"),
    "another base": (lambda f: reconfigure(f, base_model_name_or_path="x/y"), "base model x/y"),
    "dora undeclared": (lambda f: reconfigure(f, use_dora=True), "magnitudes"),
    "a changed base": (lambda f: reconfigure(f, init_lora_weights="pissa_niter_4"), "changed base model"),
    "an unknown method": (lambda f: reconfigure(f, peft_type="NOTHING"), "PEFT cannot load"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_adapter_is_refused_with_the_reason(base: ResidentBase, folder: Path, damage: str) -> None:
    spoil, reason = DAMAGES[damage]
    load_adapter(base, folder, "before")
    spoil(folder)
    with pytest.raises(AdapterRefused, match=reason) as refused:
        load_adapter(base, folder, "after")
    assert str(folder) not in str(refused.value)


def test_an_adapter_takes_the_memory_that_it_says(base: ResidentBase, folder: Path) -> None:
    found = load_adapter(base, folder, "a")
    size = sum(tensor.nbytes for tensor in load_file(folder / "adapter_model.safetensors").values())
    assert found.nbytes == size
    assert found.why_slow is None


def test_what_peft_builds_is_built_only_where_its_random_numbers_disturb_nobody(
    base: ResidentBase, folder: Path, tmp_path: Path
) -> None:
    entered: list[bool] = []

    @contextmanager
    def undisturbed() -> Iterator[None]:
        state = torch.get_rng_state()
        yield
        torch.set_rng_state(state)
        entered.append(True)

    before = torch.get_rng_state()
    assert load_adapter(base, folder, "fast", undisturbed).why_slow is None
    assert not entered, "factors need not wait for a training"
    attach(base, "job", spec_of("vera")).save(tmp_path / "vera")
    assert load_adapter(base, tmp_path / "vera", "slow", undisturbed).why_slow
    assert entered
    assert torch.equal(torch.get_rng_state(), before)


def held(content_hash: str) -> ServedAdapter:
    return ServedAdapter(content_hash, nbytes=10)


def test_the_least_recently_used_adapter_leaves_and_none_in_use() -> None:
    loaded: list[str] = []
    cache = AdapterCache(30, lambda name: loaded.append(name) or held(name))  # type: ignore[func-returns-value]
    in_use = cache.acquire("a")
    for name in "bcb":
        cache.release(cache.acquire(name))
    assert (cache.warm, cache.nbytes) == (["a", "c", "b"], 30)
    cache.release(cache.acquire("d"))
    assert cache.warm == ["a", "b", "d"]
    for name in "efg":
        cache.acquire(name)
    assert cache.warm == ["a", "e", "f", "g"], "beyond the budget while all are in use"
    cache.release(in_use)
    assert cache.warm == ["e", "f", "g"]
    assert loaded == [*"abcdefg"]


def test_callers_at_the_same_time_load_an_adapter_once_and_a_failure_leaves_nothing() -> None:
    loaded: list[str] = []
    together = Barrier(4)

    def load(name: str) -> ServedAdapter:
        loaded.append(name)
        if len(loaded) == 1:
            raise AdapterRefused("once")
        return held(name)

    cache = AdapterCache(100, load)
    with pytest.raises(AdapterRefused):
        cache.acquire("a")
    assert cache.warm == []

    def acquire() -> None:
        together.wait(120)
        cache.acquire("a")

    threads = [Thread(target=acquire) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert loaded == ["a", "a"]
    for _ in range(4):
        cache.release(held("a"))
    with pytest.raises(AssertionError):
        cache.release(held("a"))


def test_a_caller_after_a_failure_waits_for_the_one_that_loads_the_adapter_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loading, loading_again, another_has_come = Event(), Event(), Event()
    loads: list[str] = []
    monkeypatch.setattr(
        cache_module, "threading", SimpleNamespace(Lock=partial(NotingLock, another_has_come))
    )

    def load(name: str) -> ServedAdapter:
        loads.append(name)
        if len(loads) == 1:
            loading.set()
            assert another_has_come.wait(120)
            another_has_come.clear()
            raise AdapterRefused("once")
        if len(loads) == 2:
            loading_again.set()
            assert another_has_come.wait(120)
        else:
            another_has_come.set()
        return held(name)

    cache = AdapterCache(100, load)

    def first() -> None:
        with pytest.raises(AdapterRefused):
            cache.acquire("a")

    threads = [Thread(target=first), *(Thread(target=cache.acquire, args="a") for _ in range(2))]
    threads[0].start()
    assert loading.wait(120)
    threads[1].start()
    assert loading_again.wait(120)
    threads[0].join(120)
    threads[2].start()
    for thread in threads:
        thread.join(120)
    assert loads == ["a", "a"]
    for _ in range(2):
        cache.release(held("a"))
