"""Which errors are the device's end, which are a job's own, and what a device computes in."""

from typing import Any

import pytest
import torch

from worker.engine.base.loading import compute_dtype
from worker.engine.device.health import check_device, device_is_broken, is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    ],
)
def test_an_error_of_cuda_is_the_devices_end(error: Exception) -> None:
    assert device_is_broken(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_want_of_memory_is_a_jobs_own(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not device_is_broken(error)


def test_want_of_the_hosts_memory_is_known_as_pytorch_tells_it() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


def test_a_bug_is_neither() -> None:
    error = RuntimeError("a bug")
    assert not is_out_of_memory(error)
    assert not device_is_broken(error)


def test_a_device_that_is_not_there_shows_before_a_job_is_claimed() -> None:
    check_device(torch.device("cpu"))
    with pytest.raises((RuntimeError, AssertionError)):
        check_device(torch.device("cuda", 99))


def test_a_gpu_that_only_emulates_bf16_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert compute_dtype(torch.device("cuda")) == torch.float32


@pytest.mark.parametrize(
    ("cpu", "dtype"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, torch.bfloat16),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, torch.float32),
        ({"cpu_name": "AMD EPYC", "avx2": True}, torch.float32),
        ({"bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ],
)
def test_a_cpu_computes_in_bf16_where_that_is_faster(
    cpu: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    assert compute_dtype(torch.device("cpu")) == dtype
