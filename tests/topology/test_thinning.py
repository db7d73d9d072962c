"""Properties of the centreline on random masks: 500 here, as many as MINIVESS_MASKS says in `just centrelines`."""

from __future__ import annotations

import itertools
import os

import cc3d
import numpy as np
import pytest
from scipy import ndimage

from minivess.metrics.betti import betti_numbers
from minivess.topology.thinning import thin

MASKS = int(os.environ.get("MINIVESS_MASKS", "500"))
SPACINGS_UM = ((1, 1, 1), (1, 1, 2.5), (0.5, 0.5, 2), (2, 1, 0.7))


def as_mask(voxels, shape):
    mask = np.zeros(shape, bool)
    mask[tuple(voxels.T)] = True
    return mask


def blobs(rng, shape):
    return ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.7, 2)) > rng.normal() * 0.05


def speckle(rng, shape):
    return rng.random(shape) < rng.uniform(0.02, 0.6)


def net(rng, shape):
    """Tubes with the width of a voxel or two between random points."""
    mask = np.zeros(shape, bool)
    points = [rng.uniform(0, shape) for _ in range(5)]
    for first, second in itertools.combinations(points, 2):
        mask[tuple((first + np.linspace(0, 1, 80)[:, None] * (second - first)).astype(int).T)] = True
    return mask | (ndimage.binary_dilation(mask) & (rng.random(shape) < 0.5))


def shell(rng, shape):
    radius = np.linalg.norm(np.indices(shape).T - np.array(shape) / 2 + rng.uniform(-1, 1, 3), axis=-1).T
    return abs(radius - rng.uniform(2, 6)) < rng.uniform(0.6, 2)


def plate(rng, shape):
    mask = np.zeros(shape, bool)
    mask[:, :, rng.integers(shape[2])] = ndimage.gaussian_filter(rng.normal(size=shape[:2]), 1) > -0.1
    return mask


def full(rng, shape):
    return np.ones(shape, bool)


def tube(shape, start, stop, width, spacing=(1, 1, 1)):
    """A straight tube with flat ends. Its ends and width are in the unit of the spacing."""
    places = np.indices(shape).T * np.array(spacing) - start
    length = np.linalg.norm(stop - start)
    along = places @ ((stop - start) / length)
    across = np.sqrt(np.maximum((places**2).sum(axis=-1) - along**2, 0))
    return ((along >= 0) & (along <= length) & (across <= width / 2)).T


def random_tube(rng, spacing=(1, 1, 1), width=None):
    """A tube of 1 to 16 voxels across at any angle, at every third draw along an axis; with its ends and its width."""
    width = rng.uniform(1.2, 16) if width is None else width
    heading = np.eye(3)[rng.integers(3)] if rng.random() < 0.3 else rng.normal(size=3)
    half = heading / np.linalg.norm(heading) * rng.uniform(2.5 * width + 4, 56) / 2 * min(spacing)
    middle = 30 * min(spacing) + rng.choice([0, 0.5], 3) * spacing
    shape = tuple(int(61 * min(spacing) / size) + 1 for size in spacing)
    middle = np.minimum(middle, np.array(shape) * spacing / 2)
    return tube(shape, middle - half, middle + half, width * min(spacing), spacing), middle - half, middle + half, width


KINDS = (blobs, speckle, net, shell, plate, full)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
class TestThin:
    def test_keeps_all_pieces_tunnels_and_cavities_and_is_final(self, kind):
        rng = np.random.default_rng(0)
        for number in range(MASKS // len(KINDS)):
            mask = kind(rng, tuple(rng.integers(1, 15, 3)))
            spacing = SPACINGS_UM[number % 4]
            line = as_mask(thin(mask, spacing), mask.shape)
            assert not (line & ~mask).any()
            assert betti_numbers(line) == betti_numbers(mask)
            pieces = cc3d.connected_components(mask, connectivity=26)
            assert set(np.unique(pieces[line])) == set(np.unique(pieces[mask]))
            assert (as_mask(thin(line, spacing), mask.shape) == line).all()


@pytest.mark.parametrize("spacing", SPACINGS_UM[:3])
def test_tube_of_any_width_and_angle_keeps_its_length_and_gets_no_branch(spacing):
    rng = np.random.default_rng(1)
    for _ in range(max(20, MASKS // 25)):
        mask, start, stop, width = random_tube(rng, spacing)
        wide = width * min(spacing)
        if wide < max(spacing) or betti_numbers(mask).b0 != 1:
            continue  # where the axis of a thin tube is between two slices, no voxel is drawn
        line = thin(mask, spacing)
        drawn = as_mask(line, mask.shape)
        neighbours = ndimage.convolve(drawn.astype(np.uint8), np.ones((3, 3, 3), np.uint8), mode="constant")[drawn] - 1
        assert (neighbours == 1).sum() == 2, (start, stop, width)
        length, heading = np.linalg.norm(stop - start), (stop - start) / np.linalg.norm(stop - start)
        along = (line * np.array(spacing) - start) @ heading
        assert 0.95 * (length - wide) - 2 * max(spacing) <= np.ptp(along) <= 1.05 * length
        off_axis = np.linalg.norm(line * np.array(spacing) - start - along[:, None] * heading, axis=1)
        assert np.median(off_axis) <= np.linalg.norm(spacing) / 2


def test_same_for_every_order_of_the_axes_but_near_flat_ends():
    rng = np.random.default_rng(2)
    for _ in range(10):
        mask, start, stop, width = random_tube(rng)
        line, length = thin(mask), np.linalg.norm(stop - start)
        along = (line - start) @ (stop - start) / length
        middle = line[(along > width / 2) & (along < length - width / 2)]
        for axes in itertools.permutations(range(3)):
            other = thin(mask.transpose(axes))[:, np.argsort(axes)]
            assert np.linalg.norm(middle[:, None] - other[None], axis=-1).min(axis=1).max() <= 2


def test_shifted_mask_has_the_same_centreline():
    mask = blobs(np.random.default_rng(4), (20, 20, 20))
    assert np.array_equal(thin(np.pad(mask, [(1, 0), (3, 2), (2, 5)])) - (1, 3, 2), thin(mask))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 8])
def test_straight_square_tube_keeps_a_line(width):
    mask = np.zeros((width + 2, width + 2, 40), bool)
    mask[1:-1, 1:-1] = True
    line = thin(mask)
    assert sorted(line[:, 2]) == list(range(line[:, 2].min(), line[:, 2].max() + 1))
    assert len(line) >= 40 - width


def rough_rod(rng):
    """A rod of 9x9x60 voxels with random voxels on its surface, in two layers."""
    mask = np.zeros((60, 17, 17), bool)
    mask[2:-2] = np.hypot(*np.ogrid[-8:9, -8:9]) <= 4.2
    for _ in range(2):
        mask |= ndimage.binary_dilation(mask) & (rng.random(mask.shape) < 0.3)
    return ndimage.binary_fill_holes(mask)


def end_branches(line):
    """Length of each branch from its end to its junction, with the junction."""
    voxels = set(map(tuple, line.tolist()))
    around = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]

    def neighbours(at):
        return [near for step in around if (near := tuple(np.add(at, step).tolist())) in voxels]

    for end in [voxel for voxel in voxels if len(neighbours(voxel)) == 1]:
        length, before, at = 0.0, None, end
        while len(ahead := [near for near in neighbours(at) if near != before]) == 1:
            length += np.linalg.norm(np.subtract(ahead[0], at))
            before, at = at, ahead[0]
        if ahead:
            yield length, at


def test_no_side_branch_is_shorter_than_the_radius_of_its_vessel():
    for seed in range(24):
        mask = rough_rod(np.random.default_rng(seed))
        radius = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
        assert all(length >= radius[junction] for length, junction in end_branches(thin(mask)))


def test_bump_is_no_branch_and_a_long_side_vessel_is_one():
    mask = np.zeros((30, 60, 21), bool)
    mask[:, :, :] = (np.hypot(*np.ogrid[-10:20, 0:1, -10:11][::2]) <= 6.2)[:, :1]
    bump, branch = mask.copy(), mask.copy()
    bump[16:19, 29:32, 9:12] = True
    branch[16:28, 29:32, 9:12] = True
    assert [thin(grown)[:, 0].max() > 18 for grown in (bump, branch)] == [False, True]


def test_line_of_a_flat_rod_ends_one_radius_before_its_ends():
    rod = np.zeros((50, 17, 17), bool)
    rod[2:-2] = np.hypot(*np.ogrid[-8:9, -8:9]) <= 6.6
    along = thin(rod)[:, 0]
    assert (along.min(), along.max()) == (2 + 6, 47 - 6)


def test_end_is_extended_to_where_the_tube_becomes_thinner():
    mask, start, stop, width = random_tube(np.random.default_rng(3), width=13.0)
    along = (thin(mask) - start) @ ((stop - start) / np.linalg.norm(stop - start))
    assert along.min() <= width / 2 + 1
    assert along.max() >= np.linalg.norm(stop - start) - width / 2 - 1
