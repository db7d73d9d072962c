"""Predict memory and time in a child process, so that the caller need not import torch.

The child imports torch once and answers many requests. Its protocol is one JSON line per request on standard input, and
one JSON line per answer or error on standard output.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from minivess import errors
from minivess.errors import MinivessError, PlanError
from minivess.machine.processes import end_with_parent, torch_environment, worker_command
from minivess.planning.memory.peak import PeakMemory, predict_peak
from minivess.planning.memory.workload import GpuStep, TrainingWorkload, Workload

_TIMEOUT_S = 900.0
"""Time limit for one answer. A trace takes seconds, or half a minute on a busy machine."""
_WORKLOAD: TypeAdapter[Workload] = TypeAdapter(Workload)


class PeakProcess:
    """A child process that predicts and measures.

    It starts with the first request and ends with ``close`` or with the calling process.

    Args:
        environment: Environment variables added to those of this process, e.g. to select the GPU for the steps.
    """

    def __init__(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def peak(self, work: Workload) -> PeakMemory:
        """Return the peak of a workload.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: The network or the loss cannot be traced, or the child process ended unexpectedly.
        """
        return PeakMemory.model_validate(self._ask("peak", work))

    def seconds(self, work: TrainingWorkload) -> float:
        """Run real steps and return the seconds of one.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: A step fails, e.g. because there is not enough memory, or the child process ended unexpectedly.
        """
        return float(self._ask("seconds", work))

    def card_use(self, work: TrainingWorkload, cap_bytes: int | None) -> GpuStep:
        """Run real steps on the GPU and return their memory and time.

        Args:
            work: The step.
            cap_bytes: GPU memory that torch may use; None for no cap.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: There is no GPU, the step does not fit its memory, or the child process ended unexpectedly.
        """
        return GpuStep.model_validate(self._ask("card_use", work, cap_bytes))

    def _ask(self, request: str, work: Workload, *arguments: Any) -> Any:
        if self._process is None:
            command = worker_command("peaks", python_options=("-W", "ignore"))
            pipe = subprocess.PIPE
            environment = {**os.environ, **torch_environment(), **self._environment}
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([request, work.model_dump(mode="json"), *arguments]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], _TIMEOUT_S)[0]:
            self.close()
            raise _failed(f"no answer within {_TIMEOUT_S:.0f} s (a GPU driver that hangs is one possible reason)")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self.close()
            raise _failed(f"exit status {status} of the process that ran the network and the loss")
        answer = json.loads(line)
        if "error" in answer:
            kind, *parts = answer["error"]
            error: MinivessError = getattr(errors, kind)(*parts)
            raise error
        return answer[request]

    def close(self) -> None:
        """End the child process if it was started."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _failed(got: str) -> PlanError:
    return PlanError(
        "a network and a loss that run without error",
        got,
        "train one batch with them to see the complete error message",
    )


def _answer(line: str) -> dict[str, object]:
    """Process one request line and return the answer or the error."""
    request, values, *arguments = json.loads(line)
    work = _WORKLOAD.validate_python(values)
    try:
        return {request: _ANSWERS[request](work, *arguments)}
    except MinivessError as known:
        error = known
    except Exception as fault:  # raised by a user's own network or loss; the next request may be for another one
        error = _failed(f"{type(fault).__name__}: {fault}")
    return {"error": [type(error).__name__, error.expected, error.got, error.cure]}


def _peak(work: Workload) -> dict[str, Any]:
    return predict_peak(work).model_dump(mode="json")


def _seconds(work: Workload) -> float:
    from minivess.planning.memory.real_steps import measure_step_seconds

    assert isinstance(work, TrainingWorkload)
    return measure_step_seconds(work)


def _step_on_gpu(work: Workload, cap_bytes: int | None) -> dict[str, Any]:
    from minivess.planning.memory.real_steps import measure_step_on_gpu

    assert isinstance(work, TrainingWorkload)
    return measure_step_on_gpu(work, cap_bytes).model_dump(mode="json")


_ANSWERS: dict[str, Callable[..., Any]] = {"peak": _peak, "seconds": _seconds, "card_use": _step_on_gpu}


def main() -> int:
    """Answer each line of standard input with a line on standard output, until the input or the parent ends."""
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output that libraries print must not mix with the answers
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=answers, flush=True)
    return 0
