"""The command that measures vessels in masks."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import FOLDER, as_json, spacing_option
from minivess.errors import DataError
from minivess.json_files import to_plain


@click.command()
@click.argument("masks", nargs=-1, required=True)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for tables, graphs and the page.")
@spacing_option("Voxel size of every mask in micrometre, instead of what its file says.")
@click.option(
    "--processes", type=click.IntRange(1, 64), help="Number of masks measured at a time; by default what fits."
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@as_json
def measure(
    masks: tuple[str, ...],
    output: Path,
    spacing_um: tuple[float, float, float] | None,
    processes: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure lengths, diameters and branches of the vessels in MASKS.

    MASKS are folders, files or patterns, NIfTI or TIFF, with the values 0 and 1, or 0 and 255. Written are segments.csv,
    volumes.csv, index.html, and the graph of each mask as GraphML, SWC and VTK PolyData (for ParaView and 3D Slicer).

    A mask that cannot be measured is reported and skipped; the others are measured, and the exit code is 3.
    """
    from minivess.cli.progress import share_progress
    from minivess.evaluation.measure_masks import find_sources, measure_masks, processes_for
    from minivess.reporting.measure_page import write_measure_page

    sources = find_sources(masks, spacing_um)
    finished = 0
    with share_progress("Measuring", quiet=quiet or as_json) as advance:

        def count(source: object) -> None:
            nonlocal finished
            finished += 1
            advance(finished / len(sources))

        found, faults = measure_masks(sources, output, processes=processes or processes_for(sources), done=count)
    page = write_measure_page(output, found) if found else None
    if as_json:
        volumes = [{"mask": one.name, **to_plain(one.volume)} for one in found]
        click.echo(
            json.dumps({"volumes": volumes, "page": page and str(page), "skipped": [f.what for f in faults]}, indent=2)
        )
    elif found:
        for one in found:
            volume = one.volume
            click.echo(
                f"{one.name}: {volume.length_density_mm_per_mm3:.0f} mm/mm³, median diameter {volume.median_diameter_um:.2f} µm, "
                f"{volume.branch_points} branch points, {volume.loops} loops"
            )
        click.echo(f"{page}, {output / 'segments.csv'}, {output / 'volumes.csv'}")
    for fault in faults:
        click.echo(f"{click.style('Not measured:', fg='red', bold=True)} {fault}", err=True)
    if faults:
        raise click.exceptions.Exit(DataError.exit_code)


COMMANDS = (measure,)
