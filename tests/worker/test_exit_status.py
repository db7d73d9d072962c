"""Tests of the exit code of a process of a run."""

from __future__ import annotations

import errno
import os
from functools import partial

import pytest
import torch
from safetensors import SafetensorError

from minivess.supervision.exit_codes import ExitCode
from minivess.worker.exit_status import exit_code_of


def _raise(error: Exception) -> None:
    raise error


class TestExitCodeOf:
    def test_refused_host_memory(self) -> None:
        assert exit_code_of(lambda: print(torch.empty(10**16))) is ExitCode.HOST_OUT_OF_MEMORY
        assert exit_code_of(lambda: _raise(MemoryError())) is ExitCode.HOST_OUT_OF_MEMORY

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            RuntimeError("CUDA error: out of memory"),
            RuntimeError("FIND was unable to find an engine to execute this computation"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ],
        ids=lambda error: str(error)[:20],
    )
    def test_every_error_for_full_gpu_memory(self, error: RuntimeError) -> None:
        assert exit_code_of(lambda: _raise(error)) is ExitCode.CUDA_OUT_OF_MEMORY

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_full_disk_or_quota_reported_by_python_or_safetensors(self, number: int) -> None:
        for error in (
            OSError(number, os.strerror(number)),
            SafetensorError(f"I/O error: it is full (os error {number})"),
        ):
            assert exit_code_of(partial(_raise, error)) is ExitCode.DISK_FULL
        assert exit_code_of(lambda: _raise(SafetensorError("header too large"))) is ExitCode.INTERNAL_ERROR

    def test_error_that_is_not_about_memory_is_raised(self) -> None:
        with pytest.raises(RuntimeError, match="shapes"):
            exit_code_of(lambda: _raise(RuntimeError("shapes do not match")))
