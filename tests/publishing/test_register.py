"""Registration and promotion of a run's model: run folders with given scores, real weights, a real SQLite database."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.data.formats.nifti import read_volume
from minivess.digests import unseal
from minivess.experiments.final_model import find_model
from minivess.experiments.run_folder import RunFolder
from minivess.inference.predict_file import predict_file
from minivess.masking import mask_uri
from minivess.publishing.promote import PromotionError, promote_run
from minivess.publishing.register import publish, publish_quietly
from minivess.publishing.sync_run import own_tracking_uri, tracking_uri
from minivess.tracking.client import open_client


@pytest.fixture(scope="module")
def published(desk: Any) -> tuple[RunFolder, str]:
    """A run in which cbdice is the better loss, and the text returned by ``publish``; tests must not change it."""
    folder = desk.run("night", experiment="v1.0/a", dice_ce=0.5, cbdice=0.75)
    return folder, publish(folder, desk.uri)


@pytest.fixture
def copied(published: tuple[RunFolder, str], empty: Path, tmp_path: Path) -> RunFolder:
    """A copy of the published run that is not in MLflow, with a separate database."""
    shutil.copy(empty, tmp_path / "mlflow.db")
    copy = RunFolder(Path(shutil.copytree(published[0].path, tmp_path / "night")))
    (copy.path / "mlflow.json").unlink()
    _configure(copy, output_dir=str(tmp_path))
    return copy


def _configure(folder: RunFolder, **changes: Any) -> None:
    config = yaml.safe_load(unseal(folder.config.read_text()))
    folder.config.write_text(yaml.safe_dump(config | changes))


@pytest.fixture(scope="module")
def model(desk: Any, published: tuple[RunFolder, str]) -> Iterator[Any]:
    """The registered model, loaded with MLflow as a user does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it too; this restores it for later tests
        mlflow.set_tracking_uri(desk.uri)
        yield mlflow.pyfunc.load_model("models:/v1_0_a@staging")


class TestPublish:
    def test_fold_0_of_the_best_loss_gets_the_alias_staging(self, desk: Any, published: tuple[RunFolder, str]) -> None:
        assert "v1_0_a version 1" in published[1].splitlines()[1]
        assert desk.aliases("v1_0_a") == {"staging": "1"}
        tags = desk.version("v1_0_a", 1).tags
        assert (tags["stage"], tags["loss"], tags["fold"], tags["run"]) == ("Staging", "cbdice", "0", "night")
        assert tags["dsc"].startswith("0.800 [0.")
        assert tags["measured_masd"].startswith("1.000 ")
        assert tags["measured_masd"].endswith(" µm")
        run = open_client(desk.uri).get_run(desk.version("v1_0_a", 1).run_id)
        assert run.info.run_name == "cbdice-fold0"

    def test_tags_have_the_provenance(self, desk: Any, published: tuple[RunFolder, str]) -> None:
        tags = desk.version("v1_0_a", 1).tags
        environment = json.loads(published[0].environment.read_text())
        assert tags["git_sha"] == (environment["git"] or {"sha": "unknown"})["sha"]
        assert tags["git_dirty"] in {"true", "false", "unknown"}
        assert len(tags["data_hash"]) == 32
        assert "dvc_hash" not in tags
        assert json.loads(tags["config"])["losses"] == ["dice_ce", "cbdice"]

    def test_publishing_again_registers_nothing(self, desk: Any, published: tuple[RunFolder, str]) -> None:
        assert "v1_0_a version 1" in publish(published[0], desk.uri)
        assert len(open_client(desk.uri).search_model_versions("name = 'v1_0_a'")) == 1

    def test_staging_is_the_best_run_by_the_first_metric_not_the_newest(self, desk: Any) -> None:
        good, worse = (
            desk.run("good", experiment="rank", dice_ce=0.6),
            desk.run("worse", experiment="rank", dice_ce=0.5),
        )
        publish(good, desk.uri)
        assert "staging is version 1" in publish(worse, desk.uri)
        assert desk.aliases("rank") == {"staging": "1"}
        publish(desk.run("best", experiment="rank", dice_ce=0.7), desk.uri)
        assert desk.aliases("rank") == {"staging": "3"}

    def test_a_lower_distance_is_better_and_scores_of_other_volumes_do_not_count(self, desk: Any) -> None:
        far = desk.run("far", experiment="masd", metric="measured_masd", dice_ce=3.0)
        for folder in (far, desk.run("near", experiment="masd", metric="measured_masd", dice_ce=2.0, cbdice=2.5)):
            publish(folder, desk.uri)
        assert desk.aliases("masd") == {"staging": "2"}
        assert desk.version("masd", 2).tags["loss"] == "dice_ce"
        publish(desk.run("elsewhere", experiment="masd", metric="measured_masd", data="other", dice_ce=0.1), desk.uri)
        assert desk.aliases("masd") == {"staging": "2"}

    def test_a_model_that_has_cldice_is_compared_with_an_older_one_in_centreline_dsc(self, desk: Any) -> None:
        """The newer has a cldice of 0.95 and a centreline_dsc of 0.5; the older has only a centreline_dsc of 0.65."""
        older = desk.run("older", experiment="skeletons", metric="centreline_dsc", dice_ce=0.6)
        publish(older, desk.uri)
        newer = desk.run("newer", experiment="skeletons", metric="cldice", dice_ce=0.9)
        publish(newer, desk.uri)
        assert desk.aliases("skeletons")["staging"] == "1"
        promote_run(older, desk.uri)
        with pytest.raises(PromotionError, match="lower mean centreline_dsc"):
            promote_run(newer, desk.uri)

    def test_a_folder_whose_name_is_hard_to_quote(self, private: Any) -> None:
        found = promote_run(private.run("one", dice_ce=0.6), private.uri)
        assert private.aliases("losses") == {"champion": "1"}
        assert (found.version, mask_uri(private.uri)) == (1, private.uri)
        assert sorted(path.name for path in (private.folder / "runs").iterdir() if path.suffix != ".lock") == [
            "mlartifacts",
            "mlflow.db",
            "one",
        ]

    def test_a_server_that_never_answers_costs_15_seconds(self, desk: Any) -> None:
        folder = desk.run("silent", experiment="silent", dice_ce=0.6)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            begin = time.monotonic()
            note = publish_quietly(folder, f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}")
        assert 10 < time.monotonic() - begin < 20
        assert "timeout" in note
        assert "secret" not in note

    def test_data_tracked_by_dvc_are_tagged_with_its_hash(self, copied: RunFolder, tmp_path: Path) -> None:
        (tmp_path / "tracked").mkdir()
        (tmp_path / "tracked.dvc").write_text("outs:\n- md5: 0a1b.dir\n  path: tracked\n")
        _configure(copied, data_dir=str(tmp_path / "tracked"))
        publish(copied, tracking_uri(copied))
        found = open_client(f"sqlite:///{tmp_path}/mlflow.db").get_model_version("v1_0_a", "1")
        assert found.tags["dvc_hash"] == "0a1b.dir"

    def test_loss_without_all_folds_is_not_registered(self, copied: RunFolder, tmp_path: Path) -> None:
        copied.cell("cbdice", 1).result.unlink()
        assert "v1_0_a version 1" in publish(copied, tracking_uri(copied))
        found = open_client(f"sqlite:///{tmp_path}/mlflow.db").get_model_version("v1_0_a", "1")
        assert found.tags["loss"] == "dice_ce"
        copied.cell("dice_ce", 1).result.unlink()
        assert "Model" not in publish(copied, tracking_uri(copied))

    def test_failure_of_mlflow_is_a_note(self, copied: RunFolder) -> None:
        weights = copied.cell("cbdice", 0).weights / "network.safetensors"
        weights.unlink()
        assert str(weights) in publish_quietly(copied, own_tracking_uri(copied.read_config()))
        _configure(copied, tracking_uri="http://127.0.0.1:9")
        assert "http://127.0.0.1:9" in publish_quietly(copied, own_tracking_uri(copied.read_config()))
        _configure(copied, tracking_uri="none")
        assert publish_quietly(copied, own_tracking_uri(copied.read_config())) == ""


class TestModel:
    @pytest.mark.parametrize("params", [{}, {"probabilities": True, "mirror": True, "overlap": 0.25}])
    def test_path_and_array_give_the_mask_of_predict_file(
        self, model: Any, desk: Any, published: tuple[RunFolder, str], tmp_path: Path, params: dict[str, Any]
    ) -> None:
        volume = desk.folder / "data/raw/a.nii.gz"
        expected = read_volume(predict_file(find_model(published[0].path), volume, tmp_path, **params))
        of_path = model.predict({"path": str(volume)}, params=params)
        of_array = model.predict({"voxels": read_volume(volume)}, params=params)
        assert len(np.unique(expected)) > 1
        assert of_path.dtype == of_array.dtype == expected.dtype
        np.testing.assert_array_equal(of_path, expected)
        np.testing.assert_array_equal(of_array, expected)

    def test_nested_lists_give_the_same_mask_as_an_array(self, model: Any, desk: Any) -> None:
        voxels = read_volume(desk.folder / "data/raw/a.nii.gz")
        np.testing.assert_array_equal(model.predict({"voxels": voxels.tolist()}), model.predict({"voxels": voxels}))

    def test_input_example_can_be_predicted(self, model: Any) -> None:
        assert model.predict(model.input_example).shape == (8, 8, 4)

    @pytest.mark.parametrize("wrong", [{"path": "a.nii.gz", "voxels": np.ones((4, 4, 4))}, {"voxels": np.ones((4, 4))}])
    def test_anything_but_one_volume_is_refused(self, model: Any, wrong: dict[str, Any]) -> None:
        with pytest.raises(Exception, match=r"got 2 volumes|float64 of shape \(4, 4\)"):
            model.predict(wrong)

    def test_requirements_have_all_installed_packages(self, desk: Any, published: tuple[RunFolder, str]) -> None:
        root = Path(desk.version("v1_0_a", 1).source.removeprefix("file://"))
        frozen = json.loads(published[0].environment.read_text())["frozen"]
        assert set(frozen) <= set((root / "requirements.txt").read_text().splitlines())


class TestPromote:
    def test_equal_mean_is_promoted_and_lower_mean_is_refused_with_the_numbers(self, desk: Any) -> None:
        good, worse = (desk.run(name, experiment="merit", dice_ce=dsc) for name, dsc in (("good", 0.6), ("worse", 0.5)))
        assert promote_run(good, desk.uri).before is None
        with pytest.raises(PromotionError) as refused:
            promote_run(worse, desk.uri)
        assert refused.value.exit_code == 7
        assert all(number in refused.value.got for number in ("0.5500", "0.6500"))
        assert desk.aliases("merit") == {"champion": "1", "staging": "2"}
        found = promote_run(desk.run("equal", experiment="merit", dice_ce=0.6), desk.uri)
        assert (found.version, found.before, found.objections) == (3, 1, ())
        assert found.figures.count("0.6500") == 2
        assert "difference +0.0000" in found.figures

    def test_other_data_and_a_worse_version_need_force(self, desk: Any) -> None:
        promote_run(desk.run("here", experiment="force", dice_ce=0.6), desk.uri)
        other = desk.run("there", experiment="force", data="other", dice_ce=0.7)
        with pytest.raises(PromotionError, match="other data"):
            promote_run(other, desk.uri)
        assert len(promote_run(other, desk.uri, force=True).objections) == 1
        assert "lower mean" in promote_run(other, desk.uri, number=1, force=True).objections[-1]
        assert desk.aliases("force") == {"champion": "1"}

    def test_damaged_weights_are_not_promoted_even_with_force(self, desk: Any) -> None:
        folder = desk.run("flipped", experiment="flipped", dice_ce=0.6)
        publish(folder, desk.uri)
        (weights,) = Path(desk.version("flipped", 1).source.removeprefix("file://")).glob(
            "data/*/*-fold0/network.safetensors"
        )
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(PromotionError, match="other weights"):
            promote_run(folder, desk.uri, force=True)
        weights.unlink()
        with pytest.raises(PromotionError, match=weights.name):
            promote_run(folder, desk.uri)
        assert desk.aliases("flipped") == {"staging": "1"}

    def test_a_network_that_cannot_be_built_is_not_promoted(self, desk: Any) -> None:
        folder = desk.run("built", experiment="built", dice_ce=0.6)
        publish(folder, desk.uri)
        root = Path(desk.version("built", 1).source.removeprefix("file://"))
        (spec,) = root.glob("data/*/*-fold0/network.json")
        spec.write_text(unseal(spec.read_text()).replace("minivess.models.dynunet:build", "no_such_package:build"))
        with pytest.raises(PromotionError, match="no_such_package"):
            promote_run(folder, desk.uri)
        assert desk.aliases("built") == {"staging": "1"}

    def test_deleted_scores_are_an_objection(self, desk: Any) -> None:
        champion = promote_run(desk.run("lost", experiment="lost", dice_ce=0.6), desk.uri)
        Path(desk.version("lost", champion.version).source.removeprefix("file://"), "run/cases.json").unlink()
        with pytest.raises(PromotionError, match=r"cases\.json"):
            promote_run(desk.run("found", experiment="lost", dice_ce=0.7), desk.uri)

    def test_output_as_text_and_as_json(self, desk: Any) -> None:
        first, second = (desk.run(f"script{k}", experiment="script", dice_ce=0.5 + k / 10) for k in (0, 1))
        assert (
            CliRunner().invoke(cli, ["promote", str(first.path)]).stdout
            == f"Champion: script version 1 in {desk.uri}\n"
        )
        answer = json.loads(CliRunner().invoke(cli, ["promote", str(second.path), "--json"]).stdout)
        assert (answer["version"], answer["before"], answer["test"]["interval"]["n"]) == (2, 1, 4)
        assert answer["tracking_uri"] == desk.uri

    def test_unfinished_run_has_no_model_to_promote(self, copied: RunFolder) -> None:
        for loss in ("dice_ce", "cbdice"):
            copied.cell(loss, 0).result.unlink()
        with pytest.raises(PromotionError) as refused:
            promote_run(copied, tracking_uri(copied))
        assert str(copied.path) in refused.value.got
