"""Commands on data: profile a data set, make an example one, import TIFF stacks."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import FILE, FOLDER, IGNORE_VALUE, as_json, spacing_option
from minivess.json_files import to_plain, write_state


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--full", is_flag=True, help="Also read the voxels: intensities, vessel share, faults in the voxels, content hash."
)
@click.option(
    "--save",
    type=FILE,
    help="Save the profile to this JSON file, and load it from there if no file of the data set has changed.",
)
@click.option(
    "--picture",
    type=FILE,
    help="Save a figure of shapes and spacings to this PNG, SVG or PDF file.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="Processes that read voxels; by default chosen from the size of the data.",
)
@click.option(
    "--ignore-value",
    type=IGNORE_VALUE,
    help="Value of unknown voxels in the labels, as data.ignore_value of an experiment; by default the label named ignore "
    "in nnU-Net's dataset.json.",
)
@as_json
def profile(
    folder: Path,
    full: bool,
    save: Path | None,
    picture: Path | None,
    processes: int | None,
    ignore_value: int | None,
    as_json: bool,
) -> None:
    """Report shapes, spacings and faults of a data set.

    Without --full only the headers are read. Every fault of every file is listed; a fault that many volumes share is one
    line (--json lists each). The exit code is 3 if a fault would stop a run.
    """
    from minivess.cli.progress import volume_progress
    from minivess.cli.terminal_tables import show_profile
    from minivess.data.layouts.cases import find_cases
    from minivess.data.profiler import load_profile, scan_dataset

    saved = load_profile(save, folder, ignore_value=ignore_value) if save else None
    if saved is not None and (saved.content_hash is not None or not full):
        found = saved
    else:
        with volume_progress("Scanning", len(find_cases(folder)), quiet=as_json) as advance:
            found = scan_dataset(
                folder, voxels=full, progress=lambda name: advance(), processes=processes, ignore_value=ignore_value
            )
        if save is not None:
            write_state(save, found)
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
    """Make example data, import TIFF stacks."""


@data.command()
@click.argument("out", type=FOLDER)
@click.option("--cases", "count", type=click.IntRange(2), default=6, show_default=True, help="Number of volumes.")
@click.option(
    "--like",
    type=click.Choice(["small", "minivess"]),
    default="small",
    show_default=True,
    help="Shapes: small is 96 x 96 in plane and takes seconds; minivess has the shapes and spacings of MiniVess, "
    "up to 512 x 512 x 110.",
)
@click.option(
    "--groups",
    type=click.IntRange(2),
    help="Number of animals: the volumes of an animal are alike, animals differ, and OUT/groups.csv says which is which.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random numbers.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def phantom(out: Path, count: int, like: str, groups: int | None, seed: int, quiet: bool) -> None:
    """Draw synthetic vessel volumes (phantoms) with exact labels.

    They look like two-photon volumes and are written to OUT/raw/ and OUT/seg/.
    """
    from minivess.cli.progress import volume_progress
    from minivess.data.phantoms.phantom import in_groups, minivess_cases, small_cases, write_phantom

    cases = small_cases(count, seed) if like == "small" else minivess_cases(count, seed)
    cases = cases if groups is None else in_groups(cases, groups, seed)
    with volume_progress("Drawing", len(cases), quiet=quiet) as advance:
        write_phantom(out, cases, lambda case: advance())
    if not quiet:
        click.echo(f"{len(cases)} phantoms written to {out}")


@data.command()
@click.argument("source", metavar="IN", type=FOLDER)
@click.argument("out", type=FOLDER)
@spacing_option(
    "Voxel size of every stack in micrometre; by default IN/spacing.csv (name,x_um,y_um,z_um) gives the size of each, "
    "or the stack itself if it states three sizes with units."
)
@click.option(
    "--ignore-value",
    type=IGNORE_VALUE,
    help="Value of unknown voxels in the labels. They become 255: set data.ignore_value to 255 in the experiment.",
)
@click.option("--quiet", is_flag=True, help="Print nothing.")
def import_tiff(
    source: Path, out: Path, spacing_um: tuple[float, float, float] | None, ignore_value: int | None, quiet: bool
) -> None:
    """Convert TIFF stacks and their labels to a data set.

    IN/images/ and IN/labels/ become OUT/raw/ and OUT/seg/.

    Other names of the two folders are accepted: denoised/ (as VesselNN is published), raw/, imagesTr/ for the images; seg/,
    masks/, labelsTr/ for the labels.

    The pages, rows and columns of a stack are Z, Y and X of the volume. The name of a case is what the names of its stack
    and its label have in common. The two values of a label become 0 and 1. If anything is wrong, every fault is listed and
    nothing is written. OUT must be new or empty; it appears only when the conversion is complete.

    One stack of grey pages is read from a plain, ImageJ, OME or Micro-Manager TIFF file; every other kind of file is
    refused by name. Warnings are printed even with --quiet.
    """
    from minivess.cli.progress import volume_progress
    from minivess.data.layouts.tiff_import import find_tiffs, import_tiffs
    from minivess.findings import grouped

    cases = find_tiffs(source, spacing_um)
    for finding in grouped(finding for case in cases for finding in case.findings):
        if finding.level == "warning" or not quiet:
            click.echo(str(finding), err=True)
    with volume_progress("Converting", len(cases), quiet=quiet) as advance:
        import_tiffs(cases, out, lambda name: advance(), ignore_value)
    if not quiet:
        click.echo(f"{len(cases)} volumes written to {out}; next: minivess profile {out} --full")


COMMANDS = (profile, data)
