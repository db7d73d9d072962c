"""How a process of a run ends, by its exit code."""

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
    def test_memory_that_the_system_refuses(self) -> None:
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
    def test_a_card_that_is_full_by_any_name(self, error: RuntimeError) -> None:
        assert exit_code_of(lambda: _raise(error)) is ExitCode.CUDA_OUT_OF_MEMORY

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_disk_or_a_quota_that_is_full_whoever_says_so(self, number: int) -> None:
        for error in (
            OSError(number, os.strerror(number)),
            SafetensorError(f"I/O error: it is full (os error {number})"),
        ):
            assert exit_code_of(partial(_raise, error)) is ExitCode.DISK_FULL
        assert exit_code_of(lambda: _raise(SafetensorError("header too large"))) is ExitCode.INTERNAL_ERROR

    def test_what_has_nothing_to_do_with_memory_goes_on_up(self) -> None:
        with pytest.raises(RuntimeError, match="shapes"):
            exit_code_of(lambda: _raise(RuntimeError("shapes do not match")))
