"""Measure mask files: their vessel graphs, and numbers of segments and volumes as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minivess.atomic import write_text
from minivess.csv_text import csv_text
from minivess.data.formats.nifti_header import VolumeError, read_header
from minivess.data.formats.tiff_stack import read_stack_header
from minivess.errors import DataError
from minivess.evaluation.external_masks import is_tiff, mask_files, mask_name, read_mask
from minivess.findings import Finding, raise_critical
from minivess.geometry import Spacing
from minivess.machine.host import read_host
from minivess.machine.process_pool import PROCESS_BYTES, map_in_processes
from minivess.morphometry.export import as_graphml, as_swc, as_vtk
from minivess.morphometry.graph import VesselGraph, vessel_graph
from minivess.morphometry.measures import (
    SegmentMeasures,
    VolumeMeasures,
    diameters,
    measure_segment,
    measure_volume,
)

DIAMETER_BINS_UM = np.arange(0, 61, 1.0)
DEPTH_BINS = 20
BYTES_A_VOXEL = 16
"""Memory to measure a mask: two distance transforms (4 bytes a voxel each), the mask, and copies of it."""


@dataclass(frozen=True)
class MaskMeasures:
    """All numbers of one mask.

    Attributes:
        name: Name of the mask, without its ending.
        volume: Numbers of the volume.
        segments: Numbers of each segment, with the nodes at its ends and their kinds.
        diameter_lengths_um: Length in micrometre at each diameter, in bins of 1 µm; the last one holds all larger ones.
        depth_um: Middle of each bin of depth in micrometre.
        depth_density: Length density in mm/mm³ at each of these depths.
        picture: Maximum projection (X, Y) of the mask along Z, and the diameter in µm of the graph there, NaN elsewhere.
    """

    name: str
    volume: VolumeMeasures
    segments: tuple[tuple[int, int, str, str, SegmentMeasures], ...]
    diameter_lengths_um: NDArray[np.float64]
    depth_um: NDArray[np.float64]
    depth_density: NDArray[np.float64]
    picture: tuple[NDArray[np.bool_], NDArray[np.float32]]


@dataclass(frozen=True)
class Source:
    """A mask file and the voxel size to measure it with, in micrometre."""

    name: str
    path: Path
    spacing_um: Spacing


def find_sources(given: Sequence[str], spacing_um: Spacing | None) -> list[Source]:
    """Find the masks and their voxel sizes; the voxels are not read.

    Args:
        given: Folders, files and patterns.
        spacing_um: Voxel size of all masks, instead of what the files say; a TIFF file that states none needs it.

    Raises:
        DataError: There is no mask, two have one name, a header cannot be read, or a TIFF file states no voxel size.
    """
    paths = list(dict.fromkeys(mask_files(given)))
    if not paths:
        raise DataError("masks (.nii, .nii.gz, .tif or .tiff)", f"none in {', '.join(given)}", "check the path")
    names = [mask_name(path) for path in paths]
    if twice := [name for name in names if names.count(name) > 1]:
        both = " and ".join(str(path) for path, name in zip(paths, names, strict=True) if name == twice[0])
        raise DataError("a name of its own for each mask", both, "measure them separately, or rename one")
    found, faults = [], []
    for name, path in zip(names, paths, strict=True):
        try:
            if is_tiff(path):
                found.append(Source(name, path, spacing_um or _stated_size(path)))
            else:
                found.append(Source(name, path, spacing_um or read_header(path).spacing_um))
        except VolumeError as error:
            faults.append(error.as_finding(name))
    raise_critical(faults, DataError)
    return found


def _stated_size(path: Path) -> Spacing:
    """Return the voxel size that a TIFF stack states.

    Raises:
        VolumeError: It does not state three sizes with units.
    """
    for description in read_stack_header(path).descriptions:
        x, y, z = description.sizes_um
        if x and y and z:
            return x, y, z
    cure = "give it: --spacing-um X,Y,Z"
    raise VolumeError("spacing", "a voxel size along X, Y and Z in the file", f"none in {path.name}", cure)


def processes_for(sources: Sequence[Source]) -> int:
    """Return the number of masks that can be measured at a time: by processors, and by half of the free memory."""
    host = read_host()
    largest = max(_voxels(source.path) for source in sources)
    room = host.ram_available_bytes // 2 // (largest * BYTES_A_VOXEL + PROCESS_BYTES)
    return int(max(1, min(host.cpu_count, len(sources), room)))


def _voxels(path: Path) -> int:
    return math.prod(read_stack_header(path).shape if is_tiff(path) else read_header(path).shape)


def measure_masks(
    sources: Sequence[Source], out: Path, *, processes: int = 1, done: Callable[[Source], None] = lambda source: None
) -> tuple[list[MaskMeasures], list[Finding]]:
    """Measure masks and write their graphs and tables.

    For each mask this writes ``NAME.graphml``, ``NAME.swc`` and ``NAME.vtk``; then ``segments.csv`` and ``volumes.csv``.

    Args:
        sources: The masks.
        out: Folder for the files.
        processes: Number of masks that are measured at a time.
        done: Called with each mask that is finished.

    Returns:
        The measures, and a finding for each mask that cannot be read or has other values than 0 and 1, or 0 and 255.
        Nothing is written for these.
    """
    out.mkdir(parents=True, exist_ok=True)
    tried = map_in_processes(partial(_try_to_measure, out=out), sources, processes, done)
    found = [one for one in tried if isinstance(one, MaskMeasures)]
    faults = [one for one in tried if isinstance(one, Finding)]
    heading = ["mask", *(field.name for field in fields(VolumeMeasures))]
    write_text(out / "volumes.csv", csv_text(heading, [[one.name, *asdict(one.volume).values()] for one in found]))
    heading = ["mask", "segment", "node_1", "node_2", "kind_1", "kind_2", *(f.name for f in fields(SegmentMeasures))]
    rows = [
        [one.name, number, *place, *asdict(measures).values()]
        for one in found
        for number, (*place, measures) in enumerate(one.segments)
    ]
    write_text(out / "segments.csv", csv_text(heading, rows))
    return found, faults


def _try_to_measure(source: Source, out: Path) -> MaskMeasures | Finding:
    try:
        return measure_mask(source, out)
    except VolumeError as error:
        return error.as_finding(source.name)


def measure_mask(source: Source, out: Path) -> MaskMeasures:
    """Measure one mask and write its graph.

    Raises:
        VolumeError: The mask cannot be read or has other values than 0 and 1, or 0 and 255.
    """
    mask = read_mask(source.path) != 0
    graph = vessel_graph(mask, source.spacing_um)
    for ending, export in (("graphml", as_graphml), ("swc", as_swc), ("vtk", as_vtk)):
        write_text(out / f"{source.name}.{ending}", export(graph))
    values, lengths = diameters(graph)
    histogram = np.histogram(np.minimum(values, DIAMETER_BINS_UM[-1] - 0.5), DIAMETER_BINS_UM, weights=lengths)[0]
    depth_um, density = _by_depth(graph, mask)
    return MaskMeasures(
        name=source.name,
        volume=measure_volume(graph, mask),
        segments=tuple(
            (first, second, graph.nodes[first].kind, graph.nodes[second].kind, measure_segment(segment, graph))
            for segment in graph.segments
            for first, second in [segment.nodes]
        ),
        diameter_lengths_um=histogram,
        depth_um=depth_um,
        depth_density=density,
        picture=(mask.any(axis=2), _projected(graph)),
    )


def _by_depth(graph: VesselGraph, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the length density at depths from the first slice to the last."""
    x, y, z = graph.spacing_um
    edges = np.linspace(-z / 2, (mask.shape[2] - 0.5) * z, min(DEPTH_BINS, mask.shape[2]) + 1)
    steps = [np.diff(segment.points_um, axis=0) for segment in graph.segments]
    middles = [(segment.points_um[1:, 2] + segment.points_um[:-1, 2]) / 2 for segment in graph.segments]
    lengths = np.concatenate([np.linalg.norm(step, axis=1) for step in steps]) if steps else np.empty(0)
    at_um = np.concatenate(middles) if middles else np.empty(0)
    along = np.histogram(at_um, edges, weights=lengths)[0]
    size_mm3 = mask.shape[0] * x * mask.shape[1] * y * np.diff(edges) / 1e9
    return (edges[1:] + edges[:-1]) / 2, along / 1e3 / size_mm3


def _projected(graph: VesselGraph) -> NDArray[np.float32]:
    """Return the largest diameter along Z of the graph at each place (X, Y), NaN where it has no point."""
    picture = np.full(graph.shape[:2], np.nan, np.float32)
    for segment in graph.segments:
        at = np.rint(segment.points_um[:, :2] / np.array(graph.spacing_um[:2])).astype(int)
        at = np.clip(at, 0, np.array(graph.shape[:2]) - 1)
        np.fmax.at(picture, tuple(at.T), (2 * segment.radius_um).astype(np.float32))
    return picture
