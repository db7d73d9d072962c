"""Predictions from a process of its own: it imports torch once and answers many times; who asks stays small.

Run as ``python -m minivess.planning.peak_process``: a workload a line comes in, a peak or an error a line goes out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pydantic import TypeAdapter

from minivess import errors
from minivess.errors import MinivessError, PlanError
from minivess.planning.memory import PeakMemory, predict_peak
from minivess.planning.workload import Workload

_WORKLOAD: TypeAdapter[Workload] = TypeAdapter(Workload)


class PeakProcess:
    """Starts with the first question, ends with ``close``, or with the process that asks."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, work: Workload) -> PeakMemory:
        """The peak of a workload.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: One of them cannot be traced, or the process died of it.
        """
        if self._process is None:
            command = [sys.executable, "-W", "ignore", "-m", __name__]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(work.model_dump_json() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self.close()
            raise _failed(f"exit status {status} of the process that traced them")
        answer = json.loads(line)
        if "error" in answer:
            kind, *words = answer["error"]
            error: MinivessError = getattr(errors, kind)(*words)
            raise error
        return PeakMemory.model_validate(answer["peak"])

    def close(self) -> None:
        """End the process, if one was started."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _failed(got: str) -> PlanError:
    return PlanError("a network and a loss that run", got, "train one batch with them to see the whole error")


def _answer(line: str) -> dict[str, object]:
    try:
        return {"peak": predict_peak(_WORKLOAD.validate_json(line)).model_dump(mode="json")}
    except MinivessError as known:
        error = known
    except Exception as fault:  # of a network or loss of one's own; the next question may be about another
        error = _failed(f"{type(fault).__name__}: {fault}")
    return {"error": [type(error).__name__, error.expected, error.got, error.cure]}


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=answers, flush=True)


if __name__ == "__main__":
    _main()
