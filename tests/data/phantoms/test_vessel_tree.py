from __future__ import annotations

import numpy as np
import pytest

from minivess.data.phantoms.vessel_tree import CAPILLARY_RADIUS_UM, _murray, grow_network, trace_tubes


@pytest.fixture(scope="module")
def network():
    return grow_network(np.array([300.0, 300.0, 280.0]), np.random.default_rng(0))


class TestMurray:
    def test_the_cube_of_a_parent_is_the_sum_of_its_children(self):
        tree = np.array([[0, 1], [1, 2], [1, 3]])  # an inlet, a trunk, two tips of radius 2 and 3
        radius_um = _murray(tree, tip_radius_um=np.array([9.0, 9.0, 2.0, 3.0]))
        assert radius_um == pytest.approx([35 ** (1 / 3), 2.0, 3.0])


class TestGrowNetwork:
    def test_radii_range_from_capillary_to_arteriole(self, network):
        assert CAPILLARY_RADIUS_UM[0] <= network.radius_um.min() < CAPILLARY_RADIUS_UM[1]
        assert 9.0 < network.radius_um.max() < 18.0
        assert np.median(network.radius_um) < 4.0

    def test_it_has_loops(self, network):
        junctions = len(np.unique(network.vessels))
        assert len(network.vessels) > 1.1 * junctions  # a tree has one vessel less than it has junctions

    def test_there_are_few_dead_ends(self, network):
        degree = np.bincount(network.vessels.ravel())
        assert (degree == 1).mean() < 0.1

    def test_vessel_length_per_volume_is_that_of_cortex(self, network):
        tubes = trace_tubes(network, np.random.default_rng(0))
        length_um = np.linalg.norm(tubes.end_um - tubes.start_um, axis=1).sum()
        assert 0.7e-3 < length_um / (300 * 300 * 280) < 2e-3  # 1 m/mm³ is 1e-3 µm/µm³


class TestTraceTubes:
    def test_every_vessel_runs_from_junction_to_junction(self, network):
        tubes = trace_tubes(network, np.random.default_rng(1))
        pieces = len(tubes.radius_um) // len(network.vessels)
        assert tubes.start_um[::pieces] == pytest.approx(network.junction_um[network.vessels[:, 0]])
        assert tubes.end_um[pieces - 1 :: pieces] == pytest.approx(network.junction_um[network.vessels[:, 1]])

    def test_capillaries_are_more_tortuous_than_trunks(self, network):
        tubes = trace_tubes(network, np.random.default_rng(1))
        piece_um = np.linalg.norm(tubes.end_um - tubes.start_um, axis=1).reshape(len(network.vessels), -1)
        ends = network.junction_um[network.vessels]
        tortuosity = piece_um.sum(axis=1) / np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        thin = network.radius_um < 3.0
        assert np.median(tortuosity[thin]) > 1.1 > np.median(tortuosity[network.radius_um > 6.0])
