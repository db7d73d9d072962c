"""Guards on the plan."""

from __future__ import annotations

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.planning.validation import validate_patch


def _profile(*depths: int) -> DatasetProfile:
    facts = {"image": "", "label": None, "dtype": "uint8", "stored_bytes": 1, "cached_bytes": 1, "modified_ns": 0}
    return DatasetProfile(
        folder="",
        volumes=tuple(
            VolumeStats(name=f"mv{depth:02d}", shape=(512, 512, depth), spacing_um=(0.99, 0.99, 5.0), **facts)
            for depth in depths
        ),
    )


class TestPatchDatasetCompatibility:
    def test_patch_fits_all_volumes(self) -> None:
        assert validate_patch((96, 96, 4), (8, 8, 2), _profile(5, 43, 110), "min_volume") == []

    def test_rejects_oversized_patch_z(self) -> None:
        (finding,) = validate_patch((96, 96, 16), (8, 8, 2), _profile(5, 12, 110), "min_volume")
        assert (finding.level, finding.check, finding.got) == ("critical", "patch_fits", "96x96x16")
        assert "mv05, mv12" in finding.expected
        assert finding.cure.startswith("use 96x96x4")

    def test_padding_lets_a_deep_patch_pass(self) -> None:
        assert validate_patch((96, 96, 16), (8, 8, 2), _profile(5, 110), "pad") == []

    def test_patch_divisible_by_model(self) -> None:
        assert validate_patch((96, 96, 24), (8, 8, 4), _profile(43), "min_volume") == []

    def test_rejects_non_divisible_patch(self) -> None:
        (finding,) = validate_patch((96, 96, 23), (8, 8, 4), _profile(43), "min_volume")
        assert (finding.check, finding.cure) == ("patch_divisible", "use 96x96x20")
