from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from minivess.data.formats.nifti import read_header, read_volume
from minivess.data.phantoms.phantom import (
    PhantomCase,
    in_groups,
    make_phantom,
    minivess_cases,
    small_cases,
    write_phantom,
)
from minivess.errors import DataError

TINY = PhantomCase("tiny", (32, 40, 5), (0.99, 0.99, 5.0), seed=3)


def best_threshold_dice(image, label):
    """The highest Dice of all 256 global thresholds."""
    vessel = np.bincount(image[label > 0], minlength=256)[::-1].cumsum()
    tissue = np.bincount(image[label == 0], minlength=256)[::-1].cumsum()
    return (2 * vessel / (vessel + tissue + label.sum())).max()


@pytest.fixture(scope="module")
def demo():
    return [make_phantom(case) for case in small_cases(8)]


class TestMakePhantom:
    def test_the_same_case_gives_the_same_bytes(self):
        first, again = make_phantom(TINY), make_phantom(TINY)
        assert [a.tobytes() for a in first] == [a.tobytes() for a in again]

    def test_another_seed_gives_another_volume(self):
        (image, label), (other_image, other_label) = make_phantom(TINY), make_phantom(replace(TINY, seed=4))
        assert not np.array_equal(image, other_image)
        assert not np.array_equal(label, other_label)

    def test_shape_and_type(self):
        for array in make_phantom(TINY):
            assert array.shape == (32, 40, 5)
            assert array.dtype == np.uint8

    def test_foreground_is_realistic_even_in_five_slices(self, demo):
        assert demo[0][1].shape[2] == 5
        assert all(0.03 < label.mean() < 0.20 for _, label in demo)

    @pytest.mark.parametrize("spacing_um", [(0.62, 0.62, 10.0), (4.97, 4.97, 5.0), (0.99, 1.24, 2.0)])
    def test_foreground_is_realistic_at_any_spacing(self, spacing_um):
        _, label = make_phantom(PhantomCase("any", (64, 48, 7), spacing_um, seed=0))
        assert 0.03 < label.mean() < 0.20
        assert np.unique(label).tolist() == [0, 1]

    def test_three_components_hold_most_of_the_network(self):
        _, label = make_phantom(PhantomCase("deep", (128, 128, 30), (0.99, 0.99, 5.0), seed=0))
        pieces, _ = ndimage.label(label, np.ones((3, 3, 3)))
        sizes = np.sort(np.bincount(pieces.ravel())[1:])
        assert sizes[-3:].sum() > 0.95 * sizes.sum()

    def test_vessels_have_different_widths(self):
        _, label = make_phantom(PhantomCase("wide", (128, 128, 20), (0.99, 0.99, 5.0), seed=0))
        depth_um = ndimage.distance_transform_edt(label, sampling=(0.99, 0.99, 5.0))
        ridge = depth_um[(depth_um == ndimage.maximum_filter(depth_um, size=(7, 7, 3))) & (label > 0)]
        assert ridge.max() > 2.5 * np.median(ridge)

    def test_no_global_threshold_segments_it(self, demo):
        dice = [best_threshold_dice(image, label) for image, label in demo]
        assert max(dice) < 0.93
        assert 0.5 < np.mean(dice) < 0.85

    def test_vessels_are_brighter_than_their_surroundings(self, demo):
        for image, label in demo:
            around = ndimage.binary_dilation(label, np.ones((9, 9, 1))) & (label == 0)
            assert image[label > 0].mean() > 1.5 * image[around].mean()


class TestSmallCases:
    def test_the_first_has_five_slices_and_the_set_varies(self):
        cases = small_cases(6)
        assert cases[0].shape == (96, 96, 5)
        assert len({case.name for case in cases}) == len({case.seed for case in cases}) == 6
        assert len({case.spacing_um for case in cases}) == 3
        assert len({case.shape[2] for case in cases}) >= 3

    def test_a_smaller_set_is_the_beginning_of_a_larger_one(self):
        assert small_cases(2, seed=7) == small_cases(5, seed=7)[:2]

    def test_seeds_share_no_case(self):
        assert not {case.seed for case in small_cases(20)} & {case.seed for case in small_cases(20, seed=1)}


class TestMinivessCases:
    def test_depths(self):
        depths = [case.shape[2] for case in minivess_cases()]
        assert (len(depths), min(depths), max(depths)) == (70, 5, 110)
        assert 43 < np.mean(depths) < 47

    def test_spacings(self):
        cases = minivess_cases(seed=5)
        found = Counter(case.spacing_um for case in cases)
        assert [found[s] for s in [(0.99, 0.99, 5), (0.62, 0.62, 5), (0.99, 0.99, 2), (0.62, 0.62, 10)]] == [
            31,
            20,
            8,
            5,
        ]
        assert np.min([case.spacing_um for case in cases], axis=0).tolist() == [0.31, 0.31, 1.0]

    def test_the_two_known_volumes(self):
        cases = {case.name: case for case in minivess_cases()}
        assert (cases["mv02"].shape, cases["mv02"].spacing_um) == ((512, 512, 61), (4.97, 4.97, 5.0))
        assert cases["mv10"].spacing_um == (2.48, 2.48, 5.0)
        assert all(case.shape[:2] == (512, 512) for case in cases.values())

    def test_names(self):
        assert [case.name for case in minivess_cases(3)] == ["mv01", "mv02", "mv03"]
        with pytest.raises(DataError, match="71"):
            minivess_cases(71)


class TestWritePhantom:
    def test_layout_and_header(self, tmp_path):
        seen: list[PhantomCase] = []
        images = write_phantom(tmp_path / "new", [TINY], progress=seen.append)
        assert images == [tmp_path / "new/raw/tiny.nii.gz"]
        assert seen == [TINY]
        found = sorted(str(p.relative_to(tmp_path / "new")) for p in tmp_path.rglob("*") if p.is_file())
        assert found == ["raw/tiny.nii.gz", "seg/tiny_y.nii.gz"]
        header = read_header(images[0])
        assert (header.shape, header.spacing_um, header.unit, header.dtype) == (
            TINY.shape,
            TINY.spacing_um,
            "micron",
            "uint8",
        )
        assert np.array_equal(read_volume(tmp_path / "new/seg/tiny_y.nii.gz"), make_phantom(TINY)[1])

    def test_writing_again_replaces_the_files(self, tmp_path):
        first = write_phantom(tmp_path, [TINY])
        assert write_phantom(tmp_path, [TINY]) == first

    def test_a_folder_with_other_files_is_refused_and_unchanged(self, tmp_path):
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/mine.nii.gz").write_bytes(b"")
        with pytest.raises(DataError, match=r"mine\.nii\.gz"):
            write_phantom(tmp_path, [TINY])
        assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["mine.nii.gz"]

    def test_a_file_instead_of_a_folder_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError) as caught:
            write_phantom(tmp_path / "file", [TINY])
        assert caught.value.got == str(tmp_path / "file")


class TestInGroups:
    def test_volumes_of_an_animal_are_alike_and_animals_differ(self):
        cases = in_groups(small_cases(7), 3)
        assert [case.name for case in cases[:3]] == ["animal1_1", "animal1_2", "animal1_3"]
        assert [sum(case.animal.name == f"animal{k}" for case in cases) for k in (1, 2, 3)] == [3, 2, 2]
        assert len({(case.animal, case.spacing_um) for case in cases}) == 3
        assert len({case.animal.photons for case in cases}) == len({case.animal.haze for case in cases}) == 3

    def test_the_share_of_vessel_follows_the_animal(self):
        cases = in_groups(small_cases(4), 2)
        share = {case.name: make_phantom(case)[1].mean() for case in cases}
        low, high = sorted(("animal1", "animal2"), key=lambda name: share[f"{name}_1"])
        assert max(share[f"{low}_{k}"] for k in (1, 2)) < min(share[f"{high}_{k}"] for k in (1, 2))

    def test_the_file_of_groups_lies_beside_and_is_overwritten(self, tmp_path):
        for seed in (0, 1):
            write_phantom(tmp_path, in_groups(small_cases(3, seed), 2))
        assert (tmp_path / "groups.csv").read_text().split() == [
            "case,group", "animal1_1,animal1", "animal1_2,animal1", "animal2_1,animal2"
        ]  # fmt: skip

    def test_more_animals_than_volumes_are_refused(self):
        with pytest.raises(DataError, match="at most 3 groups"):
            in_groups(small_cases(3), 4)
