"""Files of a vessel graph for other programs, read back."""

from __future__ import annotations

import io

import networkx as nx
import numpy as np
from tests.morphometry.test_graph import CENTRE_UM, ISOTROPIC, beside, ring, tubes

from minivess.morphometry.export import as_graphml, as_swc, as_vtk
from minivess.morphometry.graph import vessel_graph

GRAPH = vessel_graph(tubes([*ring(ISOTROPIC), (CENTRE_UM, beside(25, 0, 0))], ISOTROPIC), ISOTROPIC)
LENGTH_UM = sum(segment.length_um for segment in GRAPH.segments)


def test_graphml_has_nodes_and_segments_with_their_numbers() -> None:
    found = nx.read_graphml(io.StringIO(as_graphml(GRAPH)), node_type=int, force_multigraph=True)
    assert (found.number_of_nodes(), found.number_of_edges()) == (2, 2)
    assert sum(data["length_um"] for *_, data in found.edges(data=True)) == LENGTH_UM
    assert {data["kind"] for _, data in found.nodes(data=True)} == {"branch", "end"}


def test_swc_is_a_tree_with_the_whole_length() -> None:
    rows = np.array([line.split() for line in as_swc(GRAPH).splitlines() if not line.startswith("#")], float)
    parent = rows[:, 6].astype(int)
    assert (parent[1:] < rows[1:, 0]).all()
    assert (parent == -1).sum() == 1
    points = rows[:, 2:5]
    lengths = np.linalg.norm(points[1:] - points[parent[1:] - 1], axis=1)
    assert abs(lengths.sum() - LENGTH_UM) < 0.1


def test_vtk_has_a_line_for_each_segment_and_a_diameter_for_each_point() -> None:
    lines = as_vtk(GRAPH).splitlines()
    count = sum(len(segment.points_um) for segment in GRAPH.segments)
    assert lines[4] == f"POINTS {count} float"
    start = lines.index(f"LINES 2 {count + 2}")
    ids = [line.split() for line in lines[start + 1 : start + 3]]
    assert [int(line[0]) for line in ids] == [len(segment.points_um) for segment in GRAPH.segments]
    assert [int(number) for line in ids for number in line[1:]] == list(range(count))
    assert lines[lines.index(f"POINT_DATA {count}") + 1 :][:1] == ["SCALARS diameter_um float 1"]
    assert len(lines) == lines.index(f"POINT_DATA {count}") + 3 + count
