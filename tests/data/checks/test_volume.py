"""Data sets with one fault each: every fault is found with its check code and level, and hides no other fault."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.formats.nifti import write_volume
from minivess.data.profiler import scan_dataset
from minivess.findings import Finding, Level, grouped

SHAPE, SPACING_UM = (24, 20, 6), (0.99, 0.99, 5.0)
OFFSET = 352


class Dataset:
    """Five valid cases a to e in the layout of MiniVess; the functions below break case c."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in "abcde":
            self.write(name)

    def image(self, name: str = "c") -> Path:
        return self.folder / f"raw/{name}.nii.gz"

    def label(self, name: str = "c") -> Path:
        return self.folder / f"seg/{name}_y.nii.gz"

    def voxels(self, name: str = "c") -> np.ndarray:
        return np.random.default_rng(list(name.encode())).integers(0, 200, SHAPE, np.uint8)

    def vessel(self, name: str = "c") -> np.ndarray:
        """A bar of 5 x 5 voxels across, as long as the name says."""
        label = np.zeros(SHAPE, bool)
        label[2 : 14 + sum(name.encode()) % 9, 6:11, :5] = True
        return label

    def write(self, name: str) -> None:
        write_volume(self.image(name), self.voxels(name), spacing_um=SPACING_UM)
        write_volume(self.label(name), self.vessel(name).astype(np.uint8), spacing_um=SPACING_UM)

    def as_image(self, array: np.ndarray, name: str = "c") -> None:
        write_volume(self.image(name), array, spacing_um=SPACING_UM)

    def as_label(self, array: np.ndarray) -> None:
        write_volume(self.label(), array, spacing_um=SPACING_UM)

    def keep_slices(self, count: int) -> None:
        self.keep(slice(None), slice(None), slice(count))

    def keep(self, *parts: slice) -> None:
        self.as_image(self.voxels()[parts])
        self.as_label(self.vessel()[parts].astype(np.uint8))

    def header(self, path: Path, change: Callable[[nib.Nifti1Header], None]) -> None:
        """Change a header in a way that no library permits."""
        nifti = nib.load(path)
        raw, data = nifti.header.copy(), np.asanyarray(nifti.dataobj).tobytes(order="F")
        change(raw)
        path.unlink()
        path.with_suffix("").write_bytes(raw.binaryblock + bytes(OFFSET - 348) + data)

    def json(self, name: str, value: object) -> None:
        self.text(name, json.dumps(value))

    def text(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def as_nnunet(self) -> None:
        """The same cases in nnU-Net's layout."""
        for old, new, suffix in (("raw", "imagesTr", "_0000.nii.gz"), ("seg", "labelsTr", ".nii.gz")):
            (self.folder / new).mkdir()
            for path in (self.folder / old).iterdir():
                name = path.name.removesuffix(".nii.gz").removesuffix("_y")
                path.rename(self.folder / new / f"{name}{suffix}")
            (self.folder / old).rmdir()
        self.json(
            "dataset.json", {"labels": {"background": 0, "vessel": 1}, "numTraining": 5, "file_ending": ".nii.gz"}
        )

    def as_channel(self, name: str) -> None:
        write_volume(self.folder / name, self.voxels("z"), spacing_um=SPACING_UM)

    def findings(self, voxels: bool = True) -> list[Finding]:
        return scan_dataset(self.folder, voxels=voxels).findings


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def _corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _pixdim(*sizes: float) -> Callable[[nib.Nifti1Header], None]:
    def change(header: nib.Nifti1Header) -> None:
        header["pixdim"][1:4] = sizes
        header["srow_x"][0], header["srow_y"][1], header["srow_z"][2] = np.nan_to_num(sizes)

    return change


def _unit(unit: str, *sizes: float) -> Callable[[nib.Nifti1Header], None]:
    def change(header: nib.Nifti1Header) -> None:
        _pixdim(*sizes)(header)
        header.set_xyzt_units(unit)

    return change


def _set(**fields: object) -> Callable[[nib.Nifti1Header], None]:
    def change(header: nib.Nifti1Header) -> None:
        for field, value in fields.items():
            header[field] = value

    return change


def _as_scaled_copy(dataset: Dataset, name: str) -> None:
    """The voxels of another case, stored as int16 with a slope of one half."""
    dataset.as_image(2 * dataset.voxels(name).astype(np.int16))
    dataset.header(dataset.image(), _set(scl_slope=0.5, scl_inter=0))


def _quaternion(dataset: Dataset, path: Path, length: float = 1) -> None:
    """Write a rotation of 180 degrees about X as a quaternion of this length, which should be 1."""
    dataset.header(path, _set(sform_code=0, qform_code=1, quatern_b=length))


def _with(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[3, 4, 2] = value
    return array


def _broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("moved/away.nii.gz")


def _beside(dataset: Dataset, old: Path, new: str) -> None:
    shutil.copy(old, dataset.folder / new)


def _splits(*folds: tuple[str, str]) -> Callable[[Dataset], None]:
    return lambda d: d.json("splits_final.json", [{"train": list(train), "val": list(val)} for train, val in folds])


def _dataset_json(**changes: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.as_nnunet()
        path = dataset.folder / "dataset.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])

FAULTS: dict[str, tuple[Callable[[Dataset], object], str, Level]] = {
    # missing or duplicate files
    "label missing": (lambda d: d.label().unlink(), "label_missing", "critical"),
    "no label at all": (lambda d: shutil.rmtree(d.folder / "seg"), "no_labels", "warning"),
    "image missing": (lambda d: d.image().unlink(), "image_missing", "critical"),
    "image twice": (lambda d: d.image().with_suffix("").write_bytes(d.image().read_bytes()), "file_twice", "critical"),
    "names that differ in case only": (lambda d: (d.write("C"), d.as_image(d.voxels("x"), "C")), "name_alike", "warning"),
    "unusual letters": (lambda d: d.write("mouse 3 (día 2)"), "name_letters", "warning"),
    "image under two names": (lambda d: _beside(d, d.image("a"), "raw/c.nii.gz"), "same_image", "critical"),
    "image under two names in two types": (lambda d: d.as_image(d.voxels("a").astype(np.uint16)), "same_image", "critical"),
    "image under two names, scaled": (lambda d: _as_scaled_copy(d, "a"), "same_image", "critical"),
    "label under two names": (lambda d: _beside(d, d.label("a"), "seg/c_y.nii.gz"), "same_label", "warning"),
    "broken link": (lambda d: _broken_link(d.image()), "damaged", "critical"),
    # files that cannot be read
    "empty file": (lambda d: d.image().write_bytes(b""), "damaged", "critical"),
    "not a NIfTI file": (lambda d: d.image().write_bytes(b"PK" + bytes(2000)), "damaged", "critical"),
    "image cut short": (lambda d: _cut(d.image()), "damaged", "critical"),
    "label cut short": (lambda d: _cut(d.label()), "damaged", "critical"),
    "bytes flipped": (lambda d: _corrupt(d.image()), "damaged", "critical"),
    "half of a pair": (lambda d: d.header(d.image(), _set(magic=b"ni1\0")), "damaged", "critical"),
    # headers
    "2D": (lambda d: d.as_image(d.voxels()[..., 0]), "dimensions", "critical"),
    "4D": (lambda d: d.as_image(np.stack([d.voxels()] * 2, -1)), "dimensions", "critical"),
    "one slice": (lambda d: d.keep_slices(1), "single_slice", "critical"),
    "three slices": (lambda d: d.keep_slices(3), "thin", "warning"),
    "one voxel wide": (lambda d: d.keep(slice(1)), "single_slice", "critical"),
    "one voxel high": (lambda d: d.keep(slice(None), slice(1)), "single_slice", "critical"),
    "colours": (lambda d: d.as_image(np.zeros(SHAPE, RGB)), "voxel_type", "critical"),
    "complex": (lambda d: d.as_image(d.voxels().astype(np.complex64)), "voxel_type", "critical"),
    "unknown type": (lambda d: d.header(d.image(), _set(datatype=1234)), "voxel_type", "critical"),
    "spacing zero": (lambda d: d.header(d.image(), _pixdim(0, 0.99, 5)), "voxel_size", "critical"),
    "spacing negative": (lambda d: d.header(d.image(), _pixdim(0.99, -0.99, 5)), "voxel_size", "critical"),
    "spacing NaN": (lambda d: d.header(d.image(), _pixdim(0.99, 0.99, np.nan)), "voxel_size", "critical"),
    "millimetre without a unit": (lambda d: d.header(d.image(), _unit("unknown", 0.00099, 0.00099, 0.005)), "spacing_tiny", "critical"),
    "real millimetre": (lambda d: d.header(d.image(), _unit("mm", 0.00099, 0.00099, 0.005)), "unit", "info"),
    "micrometre called mm": (lambda d: d.header(d.image(), _unit("mm", *SPACING_UM)), "unit", "warning"),
    "spacing never written": (lambda d: d.header(d.image(), _unit("unknown", 1, 1, 1)), "spacing_unset", "warning"),
    "spacing of another scale": (lambda d: d.header(d.image(), _unit("micron", 99, 99, 500)), "spacing_huge", "warning"),
    "spacing unlike the others": (lambda d: d.header(d.image(), _unit("micron", 4.97, 4.97, 5)), "spacing_outlier", "warning"),
    "two voxel sizes in one header": (lambda d: d.header(d.image(), _set(pixdim=[1, 1, 1, 1, 1, 1, 1, 1])), "spacing_twofold", "warning"),
    "scaled": (lambda d: d.header(d.image(), _set(scl_slope=0.5, scl_inter=3)), "scaled", "info"),
    "sidecar of another spacing": (lambda d: d.json("json/c.json", {"PixelSize_um": [1, 1, 1]}), "sidecar_spacing", "warning"),
    "sidecar not JSON": (lambda d: d.text("json/c.json", "{"), "sidecar_json", "warning"),
    # image against label
    "label shape differs": (lambda d: d.as_label(np.eye(24, 20, dtype=np.uint8)[..., None].repeat(5, 2)), "pair_shape", "critical"),
    "label spacing differs": (lambda d: write_volume(d.label(), np.ones(SHAPE, np.uint8), spacing_um=(1, 1, 2)), "pair_spacing", "warning"),
    "mirrored affine": (lambda d: d.header(d.label(), _set(srow_x=[-0.99, 0, 0, 20])), "pair_affine", "critical"),
    "exchanged axes": (lambda d: d.header(d.label(), _set(srow_x=[0, 0.99, 0, 0], srow_y=[0.99, 0, 0, 0])), "pair_affine", "critical"),
    "other position": (lambda d: d.header(d.label(), _set(srow_x=[0.99, 0, 0, 20])), "pair_affine", "warning"),
    "label without an orientation": (lambda d: d.header(d.label(), _set(sform_code=0)), "pair_affine", "warning"),
    "quaternion too long": (lambda d: (_quaternion(d, d.image(), 1.0005), _quaternion(d, d.label())), "orientation", "warning"),
    "label quaternion too long": (lambda d: (_quaternion(d, d.image()), _quaternion(d, d.label(), 1.0005)), "orientation", "warning"),
    # image voxels
    "NaN": (lambda d: d.as_image(_with(d.voxels().astype(np.float32), np.nan)), "finite", "critical"),
    "infinity": (lambda d: d.as_image(_with(d.voxels().astype(np.float32), np.inf)), "finite", "critical"),
    "constant": (lambda d: d.as_image(np.full(SHAPE, 7, np.uint8)), "contrast", "critical"),
    "grey values lost in float32": (lambda d: d.as_image(np.float32(1e8) + d.voxels()), "precision", "warning"),
    "almost constant": (lambda d: d.as_image(_with(np.full(SHAPE, 7, np.uint8), 9)), "contrast", "critical"),
    # label voxels
    "label 0 and 255": (lambda d: d.as_label(255 * d.vessel().astype(np.uint8)), "label_values", "info"),
    "label 0 and 2": (lambda d: d.as_label(2 * d.vessel().astype(np.uint8)), "label_values", "warning"),
    "label 0, 1 and 255": (lambda d: d.as_label(_with(255 * d.vessel().astype(np.uint8), 1)), "label_values", "critical"),
    "label 0 and 0.5": (lambda d: d.as_label(d.vessel() * np.float32(0.5)), "label_values", "critical"),
    "label full of 255": (lambda d: d.as_label(np.full(SHAPE, 255, np.uint8)), "label_full", "critical"),
    "label negative": (lambda d: d.as_label(-d.vessel().astype(np.int16)), "label_values", "critical"),
    "label of probabilities": (lambda d: d.as_label(d.voxels() / np.float32(200)), "label_values", "critical"),
    "label with NaN": (lambda d: d.as_label(_with(d.vessel().astype(np.float32), np.nan)), "label_values", "critical"),
    "label empty": (lambda d: d.as_label(np.zeros(SHAPE, np.uint8)), "label_empty", "warning"),
    "label full": (lambda d: d.as_label(np.ones(SHAPE, np.uint8)), "label_full", "critical"),
    "label inverted": (lambda d: d.as_label((d.voxels() <= 180).astype(np.uint8)), "label_inverted", "warning"),
    # nnU-Net's files
    "two channels": (lambda d: (d.as_nnunet(), d.as_channel("imagesTr/c_0001.nii.gz")), "channels", "critical"),
    "other numTraining": (_dataset_json(numTraining=70), "dataset_json", "warning"),
    "other labels": (_dataset_json(labels={"background": 0, "artery": 1, "vein": 2}), "dataset_json", "warning"),
    "channels as a number": (_dataset_json(channel_names=1), "dataset_json", "warning"),
    "channels as text": (_dataset_json(channel_names="2P"), "dataset_json", "warning"),
    "file_ending as a list": (_dataset_json(file_ending=[".nii.gz"]), "dataset_json", "warning"),
    "dataset.json a folder": (lambda d: (d.folder / "dataset.json").mkdir(), "dataset_json", "warning"),
    "other channels": (_dataset_json(channel_names={"0": "green", "1": "red"}), "dataset_json", "warning"),
    "other file_ending": (_dataset_json(file_ending=".tif"), "dataset_json", "warning"),
    "folds of unknown cases": (_splits(("ab", "cde"), ("cde", "abz")), "splits", "critical"),
    "folds that leak": (_splits(("abc", "cde"), ("cde", "ab")), "splits", "critical"),
    "folds that hold out twice": (_splits(("ab", "cde"), ("de", "abc")), "splits", "critical"),
    "folds that leave out": (_splits(("ab", "cd"), ("cd", "ab")), "splits_cover", "warning"),
    "folds nested deeply": (lambda d: d.text("splits_final.json", "[" * 100_000), "splits", "critical"),
    "folds, a list twice": (lambda d: d.text("splits_final.json", '[{"train": [], "train": ["a"], "val": ["b"]}]'), "splits", "critical"),
    "folds in a folder": (lambda d: (d.folder / "splits_final.json").mkdir(), "splits", "critical"),
    "folds not UTF-8": (lambda d: (d.folder / "splits_final.json").write_bytes(b'["\xff"]'), "splits", "critical"),
    "name not UTF-8": (lambda d: d.image().rename(d.folder / os.fsdecode(b"raw/\xff.nii.gz")), "name_letters", "critical"),
    "sidecar with a huge number": (lambda d: d.json("json/c.json", {"spacing": [1, 1, 10**400]}), "sidecar_json", "warning"),
    "folds in an unknown format": (lambda d: d.json("splits_final.json", {"train": []}), "splits", "critical"),
}  # fmt: skip


class TestEveryFault:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_is_found_with_its_level_and_a_cure(self, dataset: Dataset, fault: str) -> None:
        build, check, level = FAULTS[fault]
        build(dataset)
        (finding,) = [found for found in dataset.findings() if found.check == check]
        assert finding.level == level
        assert finding.got
        assert bool(finding.expected) == bool(finding.cure) == (level != "info")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_file_without_read_permission(self, dataset: Dataset) -> None:
        dataset.image().chmod(0)
        (finding,) = dataset.findings()
        assert finding.check == "damaged"
        assert "chmod u+r" in finding.cure


class TestValidData:
    def test_has_no_findings(self, dataset: Dataset) -> None:
        assert dataset.findings() == []
        assert dataset.findings(voxels=False) == []

    def test_has_no_findings_in_the_layout_of_nnunet(self, dataset: Dataset) -> None:
        dataset.as_nnunet()
        _splits(("abc", "de"), ("de", "abc"))(dataset)
        assert dataset.findings() == []

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64, ">i2", ">f4"])
    def test_every_real_type_is_read(self, dataset: Dataset, dtype: str) -> None:
        dataset.as_image(dataset.voxels().astype(dtype))
        dataset.as_label(dataset.vessel().astype(dtype))
        assert dataset.findings() == []


class TestOneFaultHidesNoOther:
    def test_all_are_listed_the_most_severe_first(self, dataset: Dataset) -> None:
        _cut(dataset.image("a"))
        dataset.image("b").write_bytes(b"")
        dataset.label("d").unlink()
        dataset.as_label(np.zeros(SHAPE, np.uint8))
        found = [(finding.check, finding.what) for finding in dataset.findings()]
        assert found == [("label_missing", "d"), ("damaged", "b"), ("damaged", "a"), ("label_empty", "c")]

    def test_faults_of_image_and_label_of_one_case(self, dataset: Dataset) -> None:
        dataset.as_image(np.full(SHAPE, np.nan, np.float32))
        _cut(dataset.label())
        assert [finding.check for finding in dataset.findings()] == ["finite", "damaged"]

    def test_an_unreadable_image_does_not_hide_faults_of_its_label(self, dataset: Dataset) -> None:
        dataset.image().write_bytes(b"")
        dataset.as_label(np.resize(np.arange(3, dtype=np.uint8), SHAPE))
        assert [finding.check for finding in dataset.findings()] == ["damaged", "label_values"]

    def test_a_fault_of_many_volumes_is_one_line(self, dataset: Dataset) -> None:
        for name in "abcde":
            dataset.header(dataset.image(name), _set(scl_slope=0.5, scl_inter=3))
        assert [finding.what for finding in dataset.findings()] == list("abcde")
        assert [finding.what for finding in grouped(dataset.findings())] == ["a, b, c, d, e"]


class TestLength:
    @pytest.mark.parametrize("part", [Dataset.image, Dataset.label])
    def test_content_after_the_voxels_is_reported_by_a_full_scan_too(
        self, dataset: Dataset, part: Callable[[Dataset], Path]
    ) -> None:
        content = gzip.decompress(part(dataset).read_bytes())
        part(dataset).write_bytes(gzip.compress(content + bytes(2**21), 1))
        for voxels in (False, True):
            (finding,) = dataset.findings(voxels=voxels)
            assert (finding.level, finding.check) == ("warning", "file_length")

    def test_a_file_that_cannot_contain_its_shape_is_critical_without_reading_it(self, dataset: Dataset) -> None:
        dataset.header(dataset.image(), _set(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]))
        assert ("critical", "damaged") in [(found.level, found.check) for found in dataset.findings(voxels=False)]


class TestCopies:
    def test_different_volumes_that_float32_cannot_tell_apart_are_no_copies(self, dataset: Dataset) -> None:
        for name in "ac":
            dataset.as_image(dataset.voxels(name) + 1e15, name)
        assert [found.check for found in dataset.findings()] == []


class TestHeadersOnly:
    @pytest.mark.parametrize("part", [Dataset.image, Dataset.label])
    def test_a_file_cut_short_gives_a_warning(self, dataset: Dataset, part: Callable[[Dataset], Path]) -> None:
        _cut(part(dataset))
        (finding,) = dataset.findings(voxels=False)
        assert (finding.level, finding.check) == ("warning", "file_length")
        assert part(dataset).name in finding.got
