"""A process that reads damaged inputs, with a limit on its memory and on the time of each input."""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import random
import resource
import shutil
import traceback
import warnings
from abc import ABC, abstractmethod
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

import click

from fuzz.damage import AcceptedDamageError
from minivess.errors import MinivessError

ROOM_BYTES = 2**30
"""Address space that an input may use, in addition to what the process had before it."""
SECONDS = 20.0
"""Longest time of one input."""
_START_S = 300.0
_GOOD = ("accepted", "refused", "recovered")
BAD = ("traceback", "hang", "memory", "accepted damage")


class Result(NamedTuple):
    """How an input ended, and the text of the error."""

    outcome: str
    text: str

    @property
    def failed(self) -> bool:
        return self.outcome in BAD


class Kind(ABC):
    """One kind of inputs.

    Args:
        folder: Folder of this process; ``folder / "input"`` holds the input while it is read.
        base: Folder of what all processes share, such as a finished run.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.base, self.input = folder, base, folder / "input"

    @abstractmethod
    def attempt(self, rng: random.Random) -> str:
        """Draw an input, write it, and read it as minivess does.

        Returns:
            "accepted", "refused" if a finding names the damage, or "recovered" if an undamaged copy was used.

        Raises:
            Exception: What the code under test raises; a MinivessError and a click usage error count as refused.
        """


class Worker:
    """A child process that is started when it is needed, and again after it died or was killed."""

    def __init__(self, kind: str, seed: int, folder: Path, base: Path) -> None:
        self.folder = folder
        self._arguments = kind, seed, folder, base
        self._process: multiprocessing.process.BaseProcess | None = None

    def attempt(self, number: int) -> Result:
        """Read the input with this number."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send(number)
            if not self._pipe.poll(SECONDS):
                self.stop()
                return Result("hang", f"no answer within {SECONDS:.0f} s")
            return Result(*self._pipe.recv())
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join()
            code = self._process.exitcode
            self.stop()
            return Result("traceback", f"the process died with code {code}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(*self._arguments, theirs), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_START_S) or self._pipe.recv() != "ready":
            raise RuntimeError(f"a worker did not start; see {self.folder / 'log.txt'}")


def _serve(kind: str, seed: int, folder: Path, base: Path, pipe: Connection) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()
    warnings.simplefilter("ignore")
    module, _, name = kind.partition(":")
    reader: Kind = getattr(import_module(module), name)(folder, base)
    run_one(reader, random.Random("warm-up"))  # imports and thread pools, before memory is limited
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send("ready")
    while True:
        pipe.send(tuple(run_one(reader, random.Random(f"{seed} {kind} {pipe.recv()}"))))


def run_one(reader: Kind, rng: random.Random) -> Result:
    """Read one input and name how it ended."""
    shutil.rmtree(reader.input, ignore_errors=True)
    reader.input.mkdir()
    try:
        outcome = reader.attempt(rng)
        assert outcome in _GOOD, outcome
        return Result(outcome, "")
    except (MinivessError, click.UsageError) as error:
        if memory_ran_out(error):
            return Result("memory", traceback.format_exc())
        return Result("refused" if _is_printable(error) else "traceback", repr(str(error)))
    except AcceptedDamageError as error:
        return Result("accepted damage", str(error))
    except BaseException as error:
        return Result("memory" if memory_ran_out(error) else "traceback", traceback.format_exc())


def _is_printable(error: Exception) -> bool:
    """Whether there is a message, without control characters (a terminal obeys them) and without halves of characters."""
    text = error.message if isinstance(error, click.UsageError) else str(error)
    return bool(text) and not any(category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in text)


def memory_ran_out(error: BaseException | None) -> bool:
    """Whether an error, or an error that it was raised from, says that memory was refused."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
