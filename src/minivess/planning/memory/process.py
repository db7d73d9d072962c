"""Forecasts from a process of its own: it imports torch once and answers many times; who asks stays small.

Run as ``python -m minivess.planning.memory.process``: a question about a workload a line comes in, an answer or an error a
line goes out.
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
from minivess.machine.processes import torch_environment, worker_command
from minivess.planning.memory.peak import PeakMemory, predict_peak
from minivess.planning.memory.workload import GpuStep, TrainingWorkload, Workload

_PATIENCE_S = 900.0
"""Longest time for one answer; a trace takes seconds, half a minute on a busy machine."""
_WORKLOAD: TypeAdapter[Workload] = TypeAdapter(Workload)


class PeakProcess:
    """Starts with the first question, ends with ``close``, or with the process that asks.

    Args:
        environment: Variables set on top of our own, such as the card that steps are to run on.
    """

    def __init__(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def peak(self, work: Workload) -> PeakMemory:
        """The peak of a workload.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: One of them cannot be traced, or the process died of it.
        """
        return PeakMemory.model_validate(self._ask("peak", work))

    def seconds(self, work: TrainingWorkload) -> float:
        """Seconds of a step, by real ones; raises as ``peak`` does, a PlanError also where memory is short."""
        return float(self._ask("seconds", work))

    def card_use(self, work: TrainingWorkload, cap_bytes: int | None) -> GpuStep:
        """What real steps take of the card; raises as ``peak`` does, a PlanError also without a card or room on it."""
        return GpuStep.model_validate(self._ask("card_use", work, cap_bytes))

    def _ask(self, question: str, work: Workload, *more: Any) -> Any:
        if self._process is None:
            command = worker_command("peaks", python_options=("-W", "ignore"))
            pipe = subprocess.PIPE
            as_in_cells = {**os.environ, **torch_environment(), **self._environment}
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=as_in_cells
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([question, work.model_dump(mode="json"), *more]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], _PATIENCE_S)[0]:
            self.close()
            raise _failed(f"no answer within {_PATIENCE_S:.0f} s, as from a graphics driver that hangs")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self.close()
            raise _failed(f"exit status {status} of the process that ran them")
        answer = json.loads(line)
        if "error" in answer:
            kind, *words = answer["error"]
            error: MinivessError = getattr(errors, kind)(*words)
            raise error
        return answer[question]

    def close(self) -> None:
        """End the process, if one was started."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _failed(got: str) -> PlanError:
    return PlanError("a network and a loss that run", got, "train one batch with them to see the whole error")


def _answer(line: str) -> dict[str, object]:
    question, values, *more = json.loads(line)
    work = _WORKLOAD.validate_python(values)
    try:
        return {question: _ANSWERS[question](work, *more)}
    except MinivessError as known:
        error = known
    except Exception as fault:  # of a network or loss of one's own; the next question may be about another
        error = _failed(f"{type(fault).__name__}: {fault}")
    return {"error": [type(error).__name__, error.expected, error.got, error.cure]}


def _peak(work: Workload) -> dict[str, Any]:
    return predict_peak(work).model_dump(mode="json")


def _seconds(work: Workload) -> float:
    from minivess.planning.memory.real_steps import measure_step_seconds

    assert isinstance(work, TrainingWorkload)
    return measure_step_seconds(work)


def _card_use(work: Workload, cap_bytes: int | None) -> dict[str, Any]:
    from minivess.planning.memory.real_steps import measure_step_on_gpu

    assert isinstance(work, TrainingWorkload)
    return measure_step_on_gpu(work, cap_bytes).model_dump(mode="json")


_ANSWERS: dict[str, Callable[..., Any]] = {"peak": _peak, "seconds": _seconds, "card_use": _card_use}


def main() -> int:
    """Answer each line of standard input with a line of standard output, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=answers, flush=True)
    return 0
