"""Write a vessel graph for other programs: GraphML, SWC, and VTK PolyData for ParaView and 3D Slicer."""

from __future__ import annotations

import io

import networkx as nx
import numpy as np

from minivess.morphometry.graph import VesselGraph
from minivess.morphometry.measures import measure_segment


def as_graphml(graph: VesselGraph) -> str:
    """Return the graph as GraphML: nodes with place, radius and kind, edges with the numbers of their segments."""
    found = nx.MultiGraph()
    for number, node in enumerate(graph.nodes):
        x, y, z = (float(value) for value in node.position_um)
        found.add_node(number, x_um=x, y_um=y, z_um=z, radius_um=float(node.radius_um), kind=node.kind)
    for number, segment in enumerate(graph.segments):
        measures = measure_segment(segment, graph)
        found.add_edge(
            *segment.nodes,
            segment=number,
            length_um=measures.length_um,
            diameter_um=measures.diameter_um,
            volume_um3=measures.volume_um3,
        )
    text = io.BytesIO()
    nx.write_graphml(found, text)
    return text.getvalue().decode("utf-8")


def as_swc(graph: VesselGraph) -> str:
    """Return the graph as SWC: number, type, x, y, z, radius and parent of each point, in micrometre.

    SWC describes trees. So each loop is opened at one node: the segment that closes it ends at the place of that node,
    but is not connected with it.
    """
    leaving: list[list[tuple[int, bool]]] = [[] for _ in graph.nodes]
    for number, segment in enumerate(graph.segments):
        leaving[segment.nodes[0]].append((number, True))
        if segment.nodes[0] != segment.nodes[1]:
            leaving[segment.nodes[1]].append((number, False))
    lines: list[str] = []

    def add(point: np.ndarray, radius_um: float, parent: int) -> int:
        x, y, z = (f"{value:.3f}" for value in point)
        lines.append(f"{len(lines) + 1} 0 {x} {y} {z} {radius_um:.3f} {parent}")
        return len(lines)

    point_of: dict[int, int] = {}
    drawn: set[int] = set()
    for root, node in enumerate(graph.nodes):
        if root in point_of:
            continue
        point_of[root] = add(node.position_um, node.radius_um, -1)
        waiting = [root]
        while waiting:
            here = waiting.pop()
            for number, forward in leaving[here]:
                if number in drawn:
                    continue
                drawn.add(number)
                segment = graph.segments[number]
                step = 1 if forward else -1
                parent = point_of[here]
                points, radii = segment.points_um[::step][1:], segment.radius_um[::step][1:]
                for point, radius_um in zip(points, radii, strict=True):
                    parent = add(point, float(radius_um), parent)
                there = segment.nodes[1 if forward else 0]
                if there not in point_of:
                    point_of[there] = parent
                    waiting.append(there)
    return "# vessel graph of minivess: number, type, x, y, z, radius, parent; micrometre\n" + "".join(
        f"{line}\n" for line in lines
    )


def as_vtk(graph: VesselGraph) -> str:
    """Return the graph as legacy VTK PolyData: a line for each segment, with the diameter at each point, in micrometre."""
    points = [segment.points_um for segment in graph.segments]
    count = sum(map(len, points))
    lines = [
        "# vtk DataFile Version 3.0", "vessel graph of minivess, in micrometre", "ASCII", "DATASET POLYDATA",
        f"POINTS {count} float",
    ]  # fmt: skip
    lines += [f"{x:.3f} {y:.3f} {z:.3f}" for part in points for x, y, z in part]
    lines.append(f"LINES {len(points)} {count + len(points)}")
    start = 0
    for part in points:
        lines.append(" ".join(map(str, (len(part), *range(start, start + len(part))))))
        start += len(part)
    lines += [f"CELL_DATA {len(points)}", "SCALARS segment int 1", "LOOKUP_TABLE default"]
    lines += [str(number) for number in range(len(points))]
    lines += [f"POINT_DATA {count}", "SCALARS diameter_um float 1", "LOOKUP_TABLE default"]
    lines += [f"{2 * radius_um:.3f}" for segment in graph.segments for radius_um in segment.radius_um]
    return "\n".join(lines) + "\n"
