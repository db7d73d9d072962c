"""The command line: this page, and one clear message with an exit code for whatever a user can mend."""

from __future__ import annotations

import errno
import re
import signal
import sys

import click

from minivess.cli import benchmark, data, experiment, planning, prediction, promotion, ui
from minivess.errors import MinivessError, RunError

_OF_A_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY),
    *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP, errno.EBUSY, errno.EIO, errno.ESTALE),
}

_SECTIONS = {
    "Snapshot before spending": ("profile", "preflight", "plan", "benchmark"),
    "Train and compare": ("run", "train", "compare", "report"),
    "Use and keep": ("predict", "promote", "ui", "track", "data"),
}


class _Sections(click.Group):
    """Lists commands in the order of work rather than of the alphabet."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _without_brackets(self.commands[name])) for name in names])


def _without_brackets(command: click.Command) -> str:
    """A command in one line of a narrow terminal; what stands in brackets is for the command's own page."""
    return re.sub(r" \(.*\)", "", command.get_short_help_str(90))


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="minivess")
def cli() -> None:
    """Which loss gives the best vessel network on my data, on my own desktop?

    minivess looks at the volumes and at the machine, plans what fits and says why, trains every loss on every fold in
    processes that cannot take the machine down, continues after any interruption, scores vessels with topology-aware
    metrics and compares the losses with sound statistics.

    \b
    Try it:
      minivess data phantom phantom/
      minivess run --config configs/experiments/demo.yaml --data-dir phantom/
    Your own data:
      raw/NAME.nii.gz with seg/NAME_y.nii.gz in one folder, then the same
      command with --data-dir
    """


for group in (data, planning, experiment, prediction, promotion, ui, benchmark):
    for command in group.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command line; a MinivessError ends in its message and its exit code, never in a traceback."""
    # `kill`, a batch system or a shutdown ends a run as Ctrl-C does: saved, and said how to go on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MinivessError as error:
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OF_A_PLACE:
            raise
        cure = "choose another folder or a shorter name, mend its permissions, or free space on its disk"
        mendable = RunError("a place that can be read and written", f"{error.filename or ''}: {error.strerror}", cure)
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {mendable}", err=True)
        sys.exit(mendable.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
