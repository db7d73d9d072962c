"""Artefacts of labels: planted ones are found with their numbers, smooth vessels have none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from minivess.data.checks.artefact_measurement import measure_artefacts
from minivess.data.checks.label_artefacts import LabelArtefacts, check_artefacts
from minivess.data.phantoms.phantom import make_phantom, small_cases
from minivess.topology.packed import pack

Spacing = tuple[float, float, float]


def _measure(mask: np.ndarray, spacing_um: Spacing = (1.0, 1.0, 1.0)) -> LabelArtefacts:
    return measure_artefacts(pack(mask.transpose(2, 1, 0)), mask.shape, spacing_um)


def _checks(mask: np.ndarray) -> list[str]:
    return [finding.check for finding in check_artefacts("a", _measure(mask))]


def _bar() -> np.ndarray:
    """A bar of 5 x 5 x 30 voxels in the middle of 12 x 12 x 40."""
    mask = np.zeros((12, 12, 40), bool)
    mask[3:8, 3:8, 5:35] = True
    return mask


def _tube(radius: float, direction: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    """A straight tube through a random point near the middle of 64 voxels cubed, and through both ends of the array."""
    centre = 32 + np.random.default_rng(seed).uniform(-1, 1, 3)
    along = np.array(direction) / np.linalg.norm(direction)
    offset = np.stack(np.meshgrid(*3 * [np.arange(64)], indexing="ij"), axis=-1) - centre
    return (offset**2).sum(-1) - (offset @ along) ** 2 <= radius**2


class TestPlantedArtefacts:
    def test_a_bar_has_none(self) -> None:
        found = _measure(_bar())
        assert (found.pieces, found.tunnels, found.cavities) == (1, 0, 0)
        assert check_artefacts("a", found) == []
        assert found.places == {}

    def test_small_pieces(self) -> None:
        mask = _bar()
        mask[0, 0, 0] = True
        mask[10:12, 10:12, 0:15] = True  # 60 voxels
        mask[0:4, 9:11, 30:38] = True  # 64 voxels: not small
        found = _measure(mask)
        assert (found.pieces, found.small_pieces) == (4, 2)
        assert found.places["label_small_pieces"] == (10, 10, 0)  # of the larger one

    def test_cavities(self) -> None:
        mask = _bar()
        mask[5, 5, 10] = mask[5, 5, 20] = mask[5, 5, 21] = False
        found = _measure(mask)
        assert (found.cavities, found.cavity_voxels, found.pinholes) == (2, 3, 0)
        assert found.places["label_cavities"] == (5, 5, 20)

    def test_pinholes_are_passages_open_at_both_ends(self) -> None:
        mask = _bar()
        mask[:, 5, 10] = False  # through the bar
        mask[5:, 5, 20] = False  # a blind pit
        mask[:, 4:6, 30] = False  # two voxels wide
        found = _measure(mask)
        assert (found.tunnels, found.pinholes, found.cavities) == (2, 1, 0)
        assert found.places["label_pinholes"][1:] == (5, 10)

    def test_bridges(self) -> None:
        mask = _bar()
        mask[:, :, 15] = False
        mask[5, 5, 15] = True  # a bridge of one voxel
        mask[:, :, 25:27] = False
        mask[5, 5, 25:27] = True  # two voxels long: a thin vessel
        found = _measure(mask)
        assert (found.pieces, found.bridges) == (1, 1)
        assert found.places["label_bridges"] == (5, 5, 15)

    def test_a_piece_without_a_skeleton(self) -> None:
        mask = _bar()
        mask[9:11, 9:11, 2:38] = True
        found = _measure(mask)
        assert (found.pieces, found.lost_pieces) == (2, 1)
        assert found.places["label_no_centreline"] == (9, 9, 2)

    @pytest.mark.parametrize("axis", [0, 1, (0, 1)])
    def test_slices_that_are_shifted_are_a_staircase(self, axis: int | tuple[int, int]) -> None:
        rng, mask = np.random.default_rng(0), _tube(5, (1, 1, 3)) | _tube(5, (3, -1, 1)) | _tube(5, (1, 2, 0.5))
        smooth = _measure(mask)
        for z in range(64):
            mask[:, :, z] = np.roll(mask[:, :, z], rng.integers(-2, 3), axis)
        stepped = _measure(mask)
        assert (smooth.is_staircase, stepped.is_staircase) == (False, True)
        assert "label_staircase" in stepped.places

    def test_jumps_are_in_micrometres(self) -> None:
        mask = _tube(5, (1, 1, 3)) | _tube(5, (3, -1, 1))
        one, two = _measure(mask, (1, 1, 1)), _measure(mask, (2, 2, 2))
        assert one.jump_um == pytest.approx(two.jump_um / 2)


class TestSmoothLabels:
    @pytest.mark.parametrize("radius", [2.0, 3.5, 5.0, 8.0])
    @pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 2, 3), (3, 1, -1), (0.2, 0.1, 1)])
    def test_a_tube_has_no_artefact(self, radius: float, direction: Spacing) -> None:
        found = _measure(_tube(radius, direction))
        assert [name for name in _checks(_tube(radius, direction)) if name != "label_no_centreline"] == []
        assert found.pieces == 1

    def test_phantoms_are_no_staircase(self) -> None:
        for case in small_cases(6):
            assert not _measure(make_phantom(case)[1] > 0, case.spacing_um).is_staircase


class TestCheckArtefacts:
    @pytest.mark.parametrize(("small", "level"), [(1, "info"), (2, "info"), (3, "warning")])
    def test_three_and_more_than_a_tenth_are_a_warning(self, small: int, level: str) -> None:
        mask = np.zeros((40, 40, 9), bool)
        for number in range(10):
            mask[4 * number : 4 * number + 3, 0:30, 2:5] = True  # 270 voxels
        for number in range(small):
            mask[4 * number, 35, 2] = True
        (finding,) = check_artefacts("a", _measure(mask))
        assert (finding.check, finding.level) == ("label_small_pieces", level)

    def test_survives_json(self) -> None:
        mask = _bar()
        mask[5, 5, 10] = False
        found = _measure(mask)
        assert LabelArtefacts.model_validate(json.loads(found.model_dump_json())) == found
