"""Commands on data: look at a folder, make an example one, bring TIFF stacks in."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import FILE, FOLDER, as_json
from minivess.json_files import to_plain


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--full", is_flag=True, help="Read the voxels as well: intensities, foreground, faults, content hash.")
@click.option(
    "--save",
    type=FILE,
    help="Keep the profile in this JSON file, and take it from there while no file of the data set has changed.",
)
@click.option(
    "--picture",
    type=FILE,
    help="Draw shapes and spacings into this PNG, SVG or PDF file.",
)
@click.option("--processes", type=click.IntRange(1), help="Processes that read voxels; by default as many as pay.")
@as_json
def profile(
    folder: Path, full: bool, save: Path | None, picture: Path | None, processes: int | None, as_json: bool
) -> None:
    """Shapes, spacings and faults of a data set, from headers alone.

    Every fault of every file is listed, one that many volumes share in one line (--json has each), and the exit code is 3
    where one of them would stop a run.
    """
    from minivess.atomic import write_text
    from minivess.cli.progress import volume_progress
    from minivess.cli.terminal_tables import show_profile
    from minivess.data.layouts.cases import find_cases
    from minivess.data.profiler import load_profile, scan_dataset

    saved = load_profile(save, folder) if save else None
    if saved is not None and (saved.content_hash is not None or not full):
        found = saved
    else:
        with volume_progress("Scanning", len(find_cases(folder)), quiet=as_json) as advance:
            found = scan_dataset(folder, voxels=full, progress=lambda name: advance(), processes=processes)
        if save is not None:
            write_text(save, found.model_dump_json(indent=1) + "\n")
    if as_json:
        findings = to_plain(found.findings)
        click.echo(json.dumps({**found.model_dump(mode="json"), "findings": findings}, indent=2))
    else:
        show_profile(found)
    if picture is not None and found.volumes:
        from minivess.reporting.dataset_figure import save_shape_picture

        save_shape_picture(found, picture)
    if any(finding.level == "critical" for finding in found.findings):
        raise click.exceptions.Exit(3)


@click.group()
def data() -> None:
    """Make example data, bring TIFF stacks in."""


@data.command()
@click.argument("out", type=FOLDER)
@click.option("--cases", "count", type=click.IntRange(2), default=6, show_default=True, help="Volumes.")
@click.option(
    "--like",
    type=click.Choice(["small", "minivess"]),
    default="small",
    show_default=True,
    help="small: 96 x 96 in plane, seconds; minivess: MiniVess's own shapes and spacings, up to 512 x 512 x 110.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--quiet", is_flag=True)
def phantom(out: Path, count: int, like: str, seed: int, quiet: bool) -> None:
    """Draw seeded phantoms of vasculature, with exact labels.

    They look like two-photon volumes, and go to OUT/raw/ and OUT/seg/.
    """
    from minivess.cli.progress import volume_progress
    from minivess.data.phantoms.phantom import minivess_cases, small_cases, write_phantom

    cases = small_cases(count, seed) if like == "small" else minivess_cases(count, seed)
    with volume_progress("Drawing", len(cases), quiet=quiet) as advance:
        write_phantom(out, cases, lambda case: advance())
    if not quiet:
        click.echo(f"{len(cases)} phantoms in {out}")


def _parse_spacing(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected X,Y,Z such as 0.994,0.994,5, got {text!r}") from None
    if not 0 < min(x, y, z) <= max(x, y, z) < float("inf"):
        raise click.BadParameter(f"expected sizes above zero, got {text!r}")
    return x, y, z


@data.command()
@click.argument("source", metavar="IN", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option(
    "--spacing-um",
    callback=_parse_spacing,
    metavar="X,Y,Z",
    help="Voxel size of every stack in micrometre; where left out, IN/spacing.csv (name,x_um,y_um,z_um) gives each its own.",
)
@click.option("--quiet", is_flag=True)
def import_tiff(source: Path, out: Path, spacing_um: tuple[float, float, float] | None, quiet: bool) -> None:
    """Make a data set of TIFF stacks and their labels.

    IN/images/ and IN/labels/ become OUT/raw/ and OUT/seg/.

    Other names of the two folders are known: denoised/ as VesselNN is published, raw/, imagesTr/; seg/, masks/, labelsTr/.

    A stack's pages, rows and columns are Z, Y and X of the volume. A case is named by what the names of its stack and of
    its label have in common. The two values of a label become 0 and 1. Everything that is wrong is listed, and nothing is
    written then; OUT is a new folder or an empty one, and appears when all is in it.
    """
    from minivess.cli.progress import volume_progress
    from minivess.data.layouts.tiff_import import find_tiffs, import_tiffs

    cases = find_tiffs(source, spacing_um)
    with volume_progress("Converting", len(cases), quiet=quiet) as advance:
        import_tiffs(cases, out, lambda name: advance())
    if not quiet:
        click.echo(f"{len(cases)} volumes in {out}; next: minivess profile {out} --full")


COMMANDS = (profile, data)
