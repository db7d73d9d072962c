"""Tests of the design of an experiment: groups, folds that come with the data, cases that are only trained on."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivess.data.phantoms.phantom import in_groups, small_cases, write_phantom
from minivess.errors import ConfigError, DataError
from minivess.experiments.config_file import make_config
from minivess.experiments.prepare import Prepared, prepare, saved_profile
from minivess.experiments.run import _write_decisions
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.unseen import is_due
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB

NAMES = [f"animal{animal}_{k}" for animal in (1, 2, 3) for k in (1, 2)]


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms of three animals, and groups.csv."""
    folder = tmp_path_factory.mktemp("animals")
    write_phantom(folder, in_groups(small_cases(6), 3))
    return folder


@pytest.fixture
def data(animals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(animals, tmp_path / "data"))


def prepared(data: Path, **more: Any) -> Prepared:
    values = {"name": "one", "data_dir": data, "output_dir": data.parent, "losses": ["dice_ce"]}
    values |= {"model": {"name": "example_custom", "filters": [4, 8, 8]}, "evaluation": {"baselines": []}}
    return prepare(make_config({**values, **more}, "a test"), HardwareBudget.imagined(None, 16 * GIB), os.environ)


def start(run: Prepared) -> None:
    run.folder.path.mkdir(parents=True)
    _write_decisions(run)


def write_splits(data: Path, *held_out: list[str], train: list[str] | None = None) -> None:
    entries = [{"train": train or [name for name in NAMES if name not in out], "val": out} for out in held_out]
    (data / "splits_final.json").write_text(json.dumps(entries))


class TestGroups:
    @pytest.mark.parametrize("given", ["groups.csv", r"^(animal\d+)_"])
    def test_each_fold_holds_out_whole_animals_and_the_run_knows_them(self, data: Path, given: str) -> None:
        run = prepared(data, groups=given)
        held_out = [{name.partition("_")[0] for name in fold.held_out} for fold in run.splits.folds]
        assert sorted(map(len, held_out)) == [1, 1, 1]
        start(run)
        assert RunFolder(run.folder.path).read_splits().groups == {name: name.partition("_")[0] for name in NAMES}

    def test_the_same_groups_from_elsewhere_continue_a_run(self, data: Path) -> None:
        start(prepared(data, groups="groups.csv"))
        assert prepared(data, groups=r"^(animal\d+)_").splits.groups["animal1_1"] == "animal1"

    def test_other_groups_and_no_groups_do_not(self, data: Path) -> None:
        start(prepared(data, groups="groups.csv"))
        with pytest.raises(DataError, match="the groups with which"):
            prepared(data)
        file = data / "groups.csv"
        file.write_text(file.read_text().replace("animal1_2,animal1", "animal1_2,animal2"))
        with pytest.raises(DataError) as caught:
            prepared(data, groups="groups.csv")
        assert caught.value.got == "animal1_2 in animal1 then, in animal2 now"

    def test_more_folds_than_animals_are_refused(self, data: Path) -> None:
        with pytest.raises(ConfigError, match="1 to 3 folds for 3 groups"):
            prepared(data, groups="groups.csv", folds=4)

    def test_imported_folds_that_split_an_animal_are_refused_by_name(self, data: Path) -> None:
        write_splits(data, ["animal1_1", "animal1_2"], ["animal2_1"])
        assert len(prepared(data).splits.folds) == 2
        with pytest.raises(DataError) as caught:
            prepared(data, groups="groups.csv")
        assert caught.value.got == "group animal2 in both: animal2_2 and animal2_1"


class TestImportedFolds:
    def test_their_number_is_used_if_the_configuration_names_none(self, data: Path) -> None:
        write_splits(data, *([name] for name in NAMES[:5]))
        run = prepared(data)
        assert (len(run.splits.folds), run.config.folds) == (5, 5)
        start(run)
        (data / "splits_final.json").unlink()
        assert prepared(data).config.folds == 5
        with pytest.raises(ConfigError, match="folds: 5 then, 2 now"):
            prepared(data, folds=2)

    def test_another_number_in_the_configuration_is_refused_with_a_cure(self, data: Path) -> None:
        write_splits(data, *([name] for name in NAMES[:5]))
        with pytest.raises(ConfigError, match="--set folds=5"):
            prepared(data, folds=3)

    def test_a_single_fold_is_enough(self, data: Path) -> None:
        write_splits(data, ["animal2_1"], train=["animal1_1", "animal3_1"])
        run = prepared(data)
        assert [(fold.train, fold.held_out) for fold in run.splits.folds] == [
            (("animal1_1", "animal3_1"), ("animal2_1",))
        ]
        assert [cell.name for cell in run.config.cells_in_order] == ["dice_ce-fold0"]


class TestTrainOnly:
    def test_the_cases_are_in_the_training_part_of_every_fold(self, data: Path) -> None:
        folds = prepared(data, train_only=["animal1_1", "animal1_2"], folds=2, groups="groups.csv").splits.folds
        assert all(set(fold.train) >= {"animal1_1", "animal1_2"} for fold in folds)
        assert sorted(name for fold in folds for name in fold.held_out) == NAMES[2:]

    def test_unknown_names_and_parts_of_an_animal_are_refused(self, data: Path) -> None:
        with pytest.raises(ConfigError, match="did you mean 'animal1_1'"):
            prepared(data, train_only=["anmal1_1"])
        with pytest.raises(DataError) as caught:
            prepared(data, train_only=["animal1_1"], groups="groups.csv", folds=2)
        assert caught.value.got == "group animal1 in both: animal1_1 and animal1_2"

    def test_a_held_out_case_of_imported_folds_is_refused(self, data: Path) -> None:
        write_splits(data, ["animal2_1"], ["animal3_1"])
        with pytest.raises(DataError) as caught:
            prepared(data, train_only=["animal3_1"])
        assert caught.value.got == "animal3_1 in fold 1"


class TestTestSet:
    def test_is_in_no_fold_and_part_of_the_identity_of_the_run(self, data: Path) -> None:
        run = prepared(data, test=["animal2_1"], folds=2)
        assert run.splits.test == ("animal2_1",) == tuple(volume.name for volume in run.test)
        assert "animal2_1" not in {name for fold in run.splits.folds for name in (*fold.train, *fold.held_out)}
        start(run)
        with pytest.raises(ConfigError, match="test: "):
            prepared(data, folds=2)

    def test_an_animal_in_test_and_training_is_refused(self, data: Path) -> None:
        with pytest.raises(DataError) as caught:
            prepared(data, test=["animal2_1"], groups="groups.csv", folds=2)
        assert caught.value.got == "group animal2 in both: animal2_2 and animal2_1"

    def test_unknown_names_and_cases_of_imported_folds_are_refused(self, data: Path) -> None:
        with pytest.raises(ConfigError, match="did you mean 'animal2_"):
            prepared(data, test=["animal2_l"])
        write_splits(data, ["animal2_1"], ["animal3_1"])
        with pytest.raises(DataError) as caught:
            prepared(data, test=["animal3_1"])
        assert caught.value.got == "animal3_1"

    def test_its_voxels_are_not_read_before_the_end(self, data: Path) -> None:
        """The middle of the file is damaged: its header can be read, its voxels cannot."""
        path = data / "raw" / "animal2_1.nii.gz"
        content, middle = path.read_bytes(), path.stat().st_size // 2
        path.write_bytes(content[:middle] + bytes(300) + content[middle + 300 :])
        assert [volume.shape for volume in prepared(data, test=["animal2_1"]).test] == [(104, 88, 12)]
        with pytest.raises(DataError, match="animal2_1"):
            prepared(data)

    def test_two_profiles_of_one_data_set_do_not_replace_each_other(self, data: Path) -> None:
        config = prepared(data).config
        assert saved_profile(config) != saved_profile(config, ["animal1_1"])

    def test_a_header_that_cannot_be_read_is_refused_at_the_start(self, data: Path) -> None:
        (data / "raw" / "animal2_1.nii.gz").write_bytes(b"no volume")
        with pytest.raises(DataError, match="animal2_1"):
            prepared(data, test=["animal2_1", "animal2_2"])

    def test_a_volume_wider_than_all_others_is_a_warning(self, data: Path) -> None:
        """animal1_2 has 96 x 112 voxels in plane, the largest area; animal1_1 has 96 x 96."""
        warned = {
            name: [
                found.what
                for found in prepared(data, test=[name]).preflight.all_findings
                if found.check == "test_width"
            ]
            for name in ("animal1_1", "animal1_2")
        }
        assert warned == {"animal1_1": [], "animal1_2": ["test set"]}

    def test_a_trial_on_fewer_cases_leaves_it_alone(self, data: Path) -> None:
        run = prepared(data, test=["animal2_1"], cases=4, folds=2)
        for cell in run.config.cells_in_order:
            run.folder.cell(*cell).path.mkdir(parents=True)
            run.folder.cell(*cell).result.touch()
        assert not is_due(run)
        assert is_due(replace(run, config=run.config.model_copy(update={"cases": None})))


class TestNnUnetTestSet:
    @pytest.fixture
    def nnunet(self, animals: Path, tmp_path: Path) -> Path:
        """Four training cases; a test case with a label and one without."""
        places = {"animal3_1": "Ts", "animal3_2": "Ts"}
        for name in NAMES:
            images, labels = (tmp_path / "nn" / f"{part}{places.get(name, 'Tr')}" for part in ("images", "labels"))
            images.mkdir(parents=True, exist_ok=True), labels.mkdir(parents=True, exist_ok=True)
            shutil.copy(animals / "raw" / f"{name}.nii.gz", images / f"{name}_0000.nii.gz")
            if name != "animal3_2":
                shutil.copy(animals / "seg" / f"{name}_y.nii.gz", labels / f"{name}.nii.gz")
        return tmp_path / "nn"

    def test_labelled_cases_are_the_test_set_and_the_others_are_left_out(self, nnunet: Path) -> None:
        run = prepared(nnunet, folds=2)
        assert run.splits.test == ("animal3_1",)
        assert [volume.name for volume in run.profile.volumes] == NAMES[:4]
        assert prepared(nnunet, folds=2, test=[]).splits.test == ()

    def test_a_run_that_was_started_without_them_stays_without(self, nnunet: Path) -> None:
        aside = nnunet.parent / "labelsTs"
        (nnunet / "labelsTs").rename(aside)
        start(prepared(nnunet, folds=2))
        aside.rename(nnunet / "labelsTs")
        assert prepared(nnunet, folds=2).test == ()

    def test_a_name_in_both_folders_and_a_label_without_an_image_are_refused(self, nnunet: Path) -> None:
        for part in ("images", "labels"):
            for path in (nnunet / f"{part}Tr").glob("animal1_1*"):
                shutil.copy(path, nnunet / f"{part}Ts")
        with pytest.raises(DataError, match="animal1_1 in two folders"):
            prepared(nnunet, folds=2)
        (nnunet / "imagesTs" / "animal1_1_0000.nii.gz").unlink()
        with pytest.raises(DataError, match="a volume for every label"):
            prepared(nnunet, folds=2)
