"""The entry point of the command line: the list of commands, and one message with an exit code for every user error."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from types import FrameType

import click

from minivess.cli import (
    benchmark,
    data,
    experiment,
    labels,
    measurement,
    planning,
    prediction,
    pretrain,
    promotion,
    score,
    ui,
)
from minivess.cli.terminal_output import drop_what_cannot_be_written
from minivess.errors import MinivessError, RunError
from minivess.trusted_code import named_folders

_FILE_SYSTEM_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY),
    *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP, errno.EBUSY, errno.EIO, errno.ESTALE),
}

_INTERRUPTED = 130
_interrupted: list[int] = []
"""Signals that have asked this process to end."""

_SECTIONS = {
    "Check and plan": ("profile", "preflight", "plan", "benchmark"),
    "Train and compare": ("run", "train", "pretrain", "compare", "score", "report"),
    "Use the results, prepare data": ("predict", "measure", "check-labels", "promote", "ui", "track", "data"),
}


class _Sections(click.Group):
    """A group that lists its commands in the order of use instead of alphabetically."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _without_brackets(self.commands[name])) for name in names])


def _without_brackets(command: click.Command) -> str:
    """Return the one-line help of a command without the parts in brackets, so that it fits a narrow terminal."""
    return re.sub(r" \(.*\)", "", command.get_short_help_str(90))


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="minivess")
def cli() -> None:
    """Which loss gives the best vessel network on my data, on my own desktop?

    minivess inspects the volumes and the machine, plans what fits and gives the reasons, trains every loss on every fold
    in processes that cannot bring the machine down, continues after any interruption, scores vessels with
    topology-aware metrics and compares the losses with sound statistics.

    \b
    Try it:
      minivess data phantom phantom/
      minivess run --config configs/experiments/demo.yaml --data-dir phantom/
    Your own data:
      put raw/NAME.nii.gz and seg/NAME_y.nii.gz into one folder, then run the
      same command with --data-dir
    """


for group in (data, planning, experiment, pretrain, score, labels, prediction, measurement, promotion, ui, benchmark):
    for command in group.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command line; a MinivessError prints its message and sets the exit code, without a traceback."""
    output = drop_what_cannot_be_written()
    _leave_current_folder_off_the_path()
    # SIGTERM (`kill`, a batch system, a shutdown) acts like Ctrl-C: the run saves its state and prints how to continue.
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        code = cli.main(standalone_mode=False) or 0
        output.flush()
        if output.lost and code == 0 and sys.argv[1:2] not in (["run"], ["train"]):  # these two keep their results
            raise RunError(
                "standard output that can be written", f"{output.lost.strerror}", "free space, or redirect it"
            )
        sys.exit(code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MinivessError as error:
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _FILE_SYSTEM_ERRORS:
            raise
        cure = "choose another folder or a shorter name, fix its permissions, or free space on its disk"
        failure = RunError("a path that can be read and written", f"{error.filename or ''}: {error.strerror}", cure)
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {failure}", err=True)
        sys.exit(failure.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(_INTERRUPTED)


def _leave_current_folder_off_the_path() -> None:
    """Remove the current folder from the import path, unless PYTHONPATH names it: its files must not replace a library."""
    named = named_folders()
    if os.getcwd() not in map(os.path.abspath, named):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", ".", os.getcwd())]
    os.environ["PYTHONPATH"] = os.pathsep.join(named)  # for child processes


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; end the process with code 130 at the second signal, whatever it is doing.

    Nothing is lost: a run can be killed at any time, and its supervisor stops the cell when this process ends.
    """
    if _interrupted:
        os._exit(_INTERRUPTED)
    _interrupted.append(number)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
