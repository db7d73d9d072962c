from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.digests import unseal
from minivess.errors import RunError
from minivess.supervision.exit_codes import ExitCode
from minivess.supervision.outcome import (
    OUT_OF_MEMORY,
    Cause,
    Outcome,
    cause_of,
    cure_for,
    read_outcome,
    status_of,
    write_outcome,
)


def outcome(cause: Cause) -> Outcome:
    start, end = "2026-01-31T12:00:00+02:00", "2026-01-31T12:00:05+02:00"
    return Outcome(status_of(cause), cause, "why", cure_for(cause), 75, None, 3, 2, None, 0, start, end, 5.0, ("swap",))


class TestOutcome:
    def test_round_trip(self, tmp_path: Path) -> None:
        write_outcome(tmp_path, outcome(Cause.HANG))
        assert read_outcome(tmp_path) == outcome(Cause.HANG)
        assert json.loads((tmp_path / "outcome.json").read_text())["cause"] == "hang"

    def test_missing_file_gives_none(self, tmp_path: Path) -> None:
        assert read_outcome(tmp_path) is None

    def test_damaged_file_is_an_error_that_names_file_and_key(self, tmp_path: Path) -> None:
        write_outcome(tmp_path, outcome(Cause.HANG))
        path = tmp_path / "outcome.json"
        path.write_text(unseal(path.read_text()).replace('"hang"', '"bored"'))
        with pytest.raises(RunError, match=r"outcome\.json.*cause.*bored"):
            read_outcome(tmp_path)

    @pytest.mark.parametrize("cause", list(Cause))
    def test_exit_code_is_zero_only_when_finished_and_every_other_cause_has_a_cure(self, cause: Cause) -> None:
        finished = cause is Cause.FINISHED
        assert (outcome(cause).supervisor_exit_code == 0) is finished
        assert (outcome(cause).status == "finished") is finished
        assert bool(outcome(cause).cure) is (cause not in (Cause.FINISHED, Cause.PAUSED))

    @pytest.mark.parametrize(
        ("cause", "code"),
        [
            (Cause.INTERRUPTED, ExitCode.STOPPED),
            (Cause.MEMORY_LIMIT, ExitCode.HOST_OUT_OF_MEMORY),
            (Cause.GPU_MEMORY_LIMIT, ExitCode.CUDA_OUT_OF_MEMORY),
            (Cause.NAN_LOSS, ExitCode.NAN_LOSS),
            (Cause.HANG, ExitCode.INTERNAL_ERROR),
        ],
    )
    def test_exit_code_of_each_category(self, cause: Cause, code: ExitCode) -> None:
        assert outcome(cause).supervisor_exit_code == code


CAUSES = {
    ExitCode.CUDA_OUT_OF_MEMORY: Cause.CUDA_OUT_OF_MEMORY,
    ExitCode.HOST_OUT_OF_MEMORY: Cause.HOST_OUT_OF_MEMORY,
    ExitCode.NAN_LOSS: Cause.NAN_LOSS,
    ExitCode.DISK_FULL: Cause.DISK_FULL,
}


class TestOutOfMemory:
    def test_memory_of_other_programs_makes_no_step_smaller(self) -> None:
        names = {"memory_limit", "gpu_memory_limit", "cuda_out_of_memory", "host_out_of_memory", "kernel_out_of_memory"}
        assert set(OUT_OF_MEMORY) == names


class TestCauseOf:
    @pytest.mark.parametrize(
        ("returncode", "cause"),
        [
            (0, Cause.FINISHED),
            (75, Cause.INTERRUPTED),
            (-15, Cause.INTERRUPTED),
            (-9, Cause.KILLED),
            *((int(code), cause) for code, cause in CAUSES.items()),
            (-11, Cause.ERROR),
            (1, Cause.ERROR),
        ],
    )
    def test_known_and_unknown_return_codes(self, returncode: int, cause: Cause) -> None:
        assert cause_of(returncode) is cause
