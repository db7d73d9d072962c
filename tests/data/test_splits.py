"""Tests of the folds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


ALL = _volumes()


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

    @pytest.mark.parametrize("folds", [0, 8])
    def test_an_invalid_number_of_folds_is_refused(self, folds: int) -> None:
        with pytest.raises(ConfigError, match="1 to 7 folds") as caught:
            make_splits(_volumes(7), folds)
        assert caught.value.got == str(folds)

    def test_one_volume_is_refused(self) -> None:
        with pytest.raises(ConfigError) as caught:
            make_splits(_volumes(1), 2)
        assert caught.value.got == "1"


class TestOneFold:
    @pytest.mark.parametrize(("cases", "held_out"), [(2, 1), (7, 1), (7, 2), (70, 14)])
    def test_holds_out_about_a_fifth_and_trains_on_the_rest(self, cases: int, held_out: int) -> None:
        sizes = set()
        for seed in range(5):
            (fold,) = make_splits(_volumes(cases), 1, seed).folds
            assert len(fold.train) + len(fold.held_out) == len({*fold.train, *fold.held_out}) == cases
            sizes.add(len(fold.held_out))
        assert held_out in sizes <= {held_out - 1, held_out, held_out + 1}

    def test_holds_out_whole_groups(self) -> None:
        groups = {volume.name: str(number // 3) for number, volume in enumerate(_volumes(12))}
        (fold,) = make_splits(_volumes(12), 1, groups=groups).folds
        assert len({groups[name] for name in fold.held_out}) == 1
        assert len(fold.held_out) == 3


class TestTrainOnly:
    def test_is_trained_on_in_every_fold_and_never_held_out(self) -> None:
        splits = make_splits(_volumes(7), 3, train_only=["mv02", "mv05"])
        assert all({"mv02", "mv05"} <= set(fold.train) for fold in splits.folds)
        held_out = sorted(name for fold in splits.folds for name in fold.held_out)
        assert held_out == ["mv01", "mv03", "mv04", "mv06", "mv07"]


class TestGroups:
    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.data())
    def test_no_layout_of_groups_splits_one(self, data: st.DataObject) -> None:
        """The bound of the docstring: fold sizes differ by at most the size of the largest group."""
        group_of = data.draw(st.lists(st.integers(0, 15), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1))
        folds, seed = data.draw(st.integers(2, len(set(group_of)))), data.draw(st.integers(0, 9))
        names = [volume.name for volume in ALL[: len(group_of)]]
        groups = {name: f"animal{group}" for name, group in zip(names, group_of, strict=True)}
        splits = make_splits(ALL[: len(names)], folds, seed, groups=groups)
        held_out = [fold.held_out for fold in splits.folds]
        assert sorted(name for part in held_out for name in part) == sorted(names)
        assert all(not {groups[n] for n in fold.train} & {groups[n] for n in fold.held_out} for fold in splits.folds)
        sizes = [len(part) for part in held_out]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= max(group_of.count(group) for group in group_of)
        assert splits == make_splits(list(reversed(ALL[: len(names)])), folds, seed, groups=groups)

    def test_groups_of_one_size_give_folds_of_one_size_with_each_kind(self) -> None:
        """Six animals of four cases, three of each spacing: each of three folds gets one animal of each spacing."""
        volumes = [
            volume.model_copy(update={"spacing_um": (1.0 + k // 12,) * 3, "shape": (64, 64, 9)})
            for k, volume in enumerate(ALL[:24])
        ]
        groups = {volume.name: f"animal{k // 4}" for k, volume in enumerate(volumes)}
        for seed in range(5):
            for fold in make_splits(volumes, 3, seed, groups=groups).folds:
                spacings = {volume.spacing_um[0] for volume in volumes if volume.name in fold.held_out}
                assert (len(fold.held_out), len(spacings)) == (8, 2)

    def test_fewer_groups_than_folds_and_a_single_group_are_refused(self) -> None:
        two = {volume.name: str(k % 2) for k, volume in enumerate(ALL[:8])}
        with pytest.raises(ConfigError, match="1 to 2 folds for 2 groups"):
            make_splits(ALL[:8], 3, groups=two)
        with pytest.raises(ConfigError, match="at least two groups"):
            make_splits(ALL[:8], 3, groups=dict.fromkeys(two, "a"))


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
