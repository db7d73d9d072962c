"""Tests of the folds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.data.phantoms.phantom import minivess_cases
from minivess.data.profiler import VolumeStats
from minivess.data.splits import Splits, import_splits, make_splits
from minivess.errors import ConfigError, DataError


def _volumes(count: int = 70) -> list[VolumeStats]:
    facts = {"image": "", "label": None, "dtype": "uint8", "stored_bytes": 1, "cached_bytes": 1}
    return [
        VolumeStats(name=case.name, shape=case.shape, spacing_um=case.spacing_um, **facts)
        for case in minivess_cases()[:count]
    ]


class TestMakeSplits:
    def test_every_case_is_held_out_once_and_never_trained_on(self) -> None:
        splits = make_splits(_volumes(), 3)
        held_out = [name for fold in splits.folds for name in fold.held_out]
        assert sorted(held_out) == sorted(volume.name for volume in _volumes())
        assert all(not set(fold.train) & set(fold.held_out) for fold in splits.folds)
        assert [len(fold.held_out) for fold in splits.folds] in ([23, 23, 24], [23, 24, 23], [24, 23, 23])

    def test_folds_share_spacings_and_depths_evenly(self) -> None:
        volumes = {volume.name: volume for volume in _volumes()}
        for fold in make_splits(list(volumes.values()), 3).folds:
            held_out = [volumes[name] for name in fold.held_out]
            assert 9 <= sum(volume.spacing_um == (0.99, 0.99, 5.0) for volume in held_out) <= 12
            depths = [volume.shape[2] for volume in held_out]
            assert 38 < sum(depths) / len(depths) < 52

    @pytest.mark.parametrize("axis", ["spacing", "depth"])
    def test_each_fold_has_one_case_of_each_kind(self, axis: str) -> None:
        """Three kinds of three cases; in the order of the names, the kinds alternate."""
        volumes = [
            volume.model_copy(
                update={
                    "name": f"mv{number}",
                    "spacing_um": (1.0 + kind * (axis == "spacing"),) * 3,
                    "shape": (64, 64, 10 + 10 * kind * (axis == "depth")),
                }
            )
            for number, volume in enumerate(_volumes(9))
            for kind in (number % 3,)
        ]
        for seed in range(10):
            for fold in make_splits(volumes, 3, seed).folds:
                assert {int(name[2:]) % 3 for name in fold.held_out} == {0, 1, 2}

    def test_the_folds_depend_only_on_the_seed(self) -> None:
        first, again, other = (make_splits(_volumes(), 3, seed=seed) for seed in (1, 1, 2))
        assert first == again
        assert (first.seed, other.seed) == (1, 2)
        assert {fold.held_out for fold in first.folds}.isdisjoint(fold.held_out for fold in other.folds)

    def test_round_trips_through_json(self) -> None:
        splits = make_splits(_volumes(7), 3)
        assert Splits.model_validate_json(splits.model_dump_json()) == splits

    @pytest.mark.parametrize("folds", [1, 8])
    def test_an_invalid_number_of_folds_is_refused(self, folds: int) -> None:
        with pytest.raises(ConfigError, match="2 to 7 folds") as caught:
            make_splits(_volumes(7), folds)
        assert caught.value.got == str(folds)

    def test_one_volume_is_refused(self) -> None:
        with pytest.raises(ConfigError) as caught:
            make_splits(_volumes(1), 2)
        assert caught.value.got == "1"


class TestImportSplits:
    def _write(self, folder: Path, *folds: tuple[str, str]) -> None:
        entries = [{"train": list(train), "val": list(val)} for train, val in folds]
        (folder / "splits_final.json").write_text(json.dumps(entries))

    def test_none_without_the_file(self, tmp_path: Path) -> None:
        assert import_splits(tmp_path, "abcd", 2) is None

    def test_the_folds_are_those_of_the_file(self, tmp_path: Path) -> None:
        self._write(tmp_path, ("ba", "cd"), ("cd", "ab"))
        splits = import_splits(tmp_path, "abcd", 2)
        assert splits is not None
        assert [(fold.train, fold.held_out) for fold in splits.folds] == [
            (("a", "b"), ("c", "d")),
            (("c", "d"), ("a", "b")),
        ]
        assert Splits.model_validate_json(splits.model_dump_json()) == splits

    def test_another_number_of_folds_is_refused_with_a_cure(self, tmp_path: Path) -> None:
        self._write(tmp_path, ("ab", "cd"), ("cd", "ab"))
        for folds in (1, 3):
            with pytest.raises(ConfigError, match="--set folds=2"):
                import_splits(tmp_path, "abcd", folds)

    def test_unknown_cases_are_refused(self, tmp_path: Path) -> None:
        self._write(tmp_path, ("ab", "cd"), ("cd", "az"))
        with pytest.raises(DataError) as caught:
            import_splits(tmp_path, "abcd", 2)
        assert caught.value.got == "splits_final.json: z"
