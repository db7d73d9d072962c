"""Runs whose terminal, output or parent process disappears: the work goes on, or ends within a second."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from minivess.experiments.run_folder import RunFolder


class Command:
    """`minivess run` of one baseline cell (seconds), or with ``trains`` of one cell that trains for minutes."""

    def __init__(self, folder: Path, data: Path, study: str, *, trains: bool = False) -> None:
        text = study.replace("max_epochs: 3", "max_epochs: 3000") if trains else study
        (folder / "tiny.yaml").write_text(text)
        self.run = RunFolder(folder / "tiny")
        only = "loss=dice_ce,fold=0" if trains else "loss=threshold,fold=0"
        place = ["--config", str(folder / "tiny.yaml"), "--data-dir", str(data), "--output-dir", str(folder)]
        self.argv = [sys.executable, "-m", "minivess.cli.main", "run", *place, "--only", only]

    @property
    def done(self) -> bool:
        return self.run.cell("threshold", 0).finished and self.run.report.is_file()

    @property
    def is_training(self) -> bool:
        return len(self.run.cell("dice_ce", 0).read_journal()) > 0


@pytest.fixture
def command(tmp_path: Path, phantoms: Path, tiny_study: str) -> Command:
    return Command(tmp_path, phantoms, tiny_study)


@pytest.fixture
def long_command(tmp_path: Path, phantoms: Path, tiny_study: str) -> Command:
    return Command(tmp_path, phantoms, tiny_study, trains=True)


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PREFECT_DISABLED": "1", **more}


def _wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.05)


class TestOutputThatCannotBeWritten:
    @pytest.mark.slow
    def test_full_output_and_full_errors_lose_no_result(self, command: Command) -> None:
        with open("/dev/full", "w") as full:
            ended = subprocess.run(command.argv, stdout=full, stderr=full, env=_environment(), timeout=120, check=False)
        assert ended.returncode == 0
        assert command.done

    def test_a_closed_pipe_and_latin_1_lose_no_result(self, command: Command) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        latin = _environment(PYTHONIOENCODING="latin-1", PYTHONUTF8="0", LC_ALL="C")
        ended = subprocess.run(command.argv, stdout=writer, stderr=subprocess.PIPE, env=latin, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        assert command.done

    def test_characters_that_an_encoding_lacks_are_replaced(self, phantoms: Path) -> None:
        argv = [sys.executable, "-m", "minivess.cli.main", "profile", str(phantoms)]
        latin = _environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0", COLUMNS="200")
        ended = subprocess.run(argv, capture_output=True, env=latin, timeout=60, check=False)
        assert (ended.returncode, b"\\xb5m" in ended.stdout, b"Traceback" in ended.stderr) == (0, True, False)

    def test_a_command_whose_output_is_its_result_fails(self, phantoms: Path) -> None:
        argv = [sys.executable, "-m", "minivess.cli.main", "profile", str(phantoms), "--json"]
        with open("/dev/full", "w") as full:
            ended = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert ended.returncode == 5
        assert "Traceback" not in ended.stderr


class TestTerminalThatHangs:
    def test_the_run_goes_on_to_its_end(self, command: Command) -> None:
        process, terminal = pty.fork()
        if process == 0:
            os.execvpe(command.argv[0], command.argv, _environment())
        while not command.run.config.is_file():  # reads the plan, and nothing that comes later
            os.read(terminal, 65536)
        _wait_for(lambda: command.done)
        with suppress(OSError):  # EIO: the command has ended
            while os.read(terminal, 65536):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        os.close(terminal)


class TestSlowTracking:
    def test_the_report_is_named_before_a_silent_server_is_given_up(self, command: Command) -> None:
        study = command.run.path.parent / "tiny.yaml"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
            study.write_text(study.read_text().replace("tracking_uri: none", f"tracking_uri: {uri}"))
            environment = _environment(MLFLOW_HTTP_REQUEST_TIMEOUT="4")
            pipe = subprocess.PIPE
            process = subprocess.Popen(command.argv, stdout=pipe, stderr=pipe, env=environment, text=True)
            assert process.stderr is not None
            next(line for line in process.stderr if str(command.run.report) in line)
            named_s = time.monotonic()
            assert command.done
            output, _ = process.communicate(timeout=60)
        assert time.monotonic() - named_s > 3
        assert (process.returncode, str(command.run.report) in output) == (0, True)


class TestClosedTerminal:
    def test_the_run_goes_on_and_its_log_says_so(self, command: Command) -> None:
        process, terminal = pty.fork()
        if process == 0:
            os.execvpe(command.argv[0], command.argv, _environment())
        _wait_for(lambda: bool(os.read(terminal, 1)))
        os.close(terminal)  # the kernel sends SIGHUP to the processes of the terminal
        _, status = os.waitpid(process, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert command.done
        assert "SIGHUP" in (command.run.path / "log.txt").read_text()

    @pytest.mark.slow
    def test_sighup_does_not_stop_a_cell(self, long_command: Command) -> None:
        process = subprocess.Popen(
            long_command.argv, stderr=subprocess.DEVNULL, env=_environment(), start_new_session=True
        )
        try:
            _wait_for(lambda: long_command.is_training)
            os.killpg(process.pid, signal.SIGHUP)
            before = len(long_command.run.cell("dice_ce", 0).read_journal())
            _wait_for(lambda: len(long_command.run.cell("dice_ce", 0).read_journal()) > before + 3)
            assert process.poll() is None
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class TestEnd:
    @pytest.mark.parametrize(
        "pause_s", [0.1, *(pytest.param(pause_s, marks=pytest.mark.slow) for pause_s in (0.0, 0.5))]
    )
    def test_a_second_interrupt_ends_with_the_documented_code(self, long_command: Command, pause_s: float) -> None:
        process = subprocess.Popen(
            long_command.argv, stderr=subprocess.DEVNULL, env=_environment(), start_new_session=True
        )
        _wait_for(lambda: long_command.is_training)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(pause_s)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) in (130, 5)  # 5: it had stopped before the second signal

    def test_nothing_lives_longer_than_a_second_after_the_command_was_killed(self, long_command: Command) -> None:
        process = subprocess.Popen(
            long_command.argv, stderr=subprocess.DEVNULL, env=_environment(), start_new_session=True
        )
        _wait_for(lambda: long_command.is_training)
        tree = psutil.Process(process.pid).children(recursive=True)
        assert len(tree) >= 2  # the supervisor and the cell
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(tree, timeout=1.0)
        assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
