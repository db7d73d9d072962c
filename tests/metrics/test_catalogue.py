"""Lookup of metrics by name and by title."""

from __future__ import annotations

import pytest

from minivess.errors import ConfigError
from minivess.metrics.catalogue import METRICS, connectivity_note, known_metrics


class TestMetrics:
    def test_overlaps_are_better_if_they_are_higher_and_all_errors_if_they_are_lower(self) -> None:
        higher = {name for name, metric in METRICS.items() if metric.higher_is_better}
        assert higher == {"cldice", "dsc", "centreline_dsc", "normalised_surface_distance"}

    def test_distances_have_a_unit(self) -> None:
        units = {name: metric.unit for name, metric in METRICS.items() if metric.unit}
        assert units == {"measured_masd": "µm", "hausdorff_95": "µm", "measured_masd_voxel": "voxels"}


class TestKnownMetrics:
    def test_titles_in_upper_or_lower_case_give_each_key_once(self) -> None:
        titles = ["clDice", "CLDICE", "MASD", "masd (Voxels)", "betti-0 error", "dsc"]
        assert known_metrics(titles) == (
            "cldice",
            "measured_masd",
            "measured_masd_voxel",
            "betti0_error",
            "dsc",
        )

    def test_cldice_leads_and_the_lee_skeleton_is_named(self) -> None:
        assert next(iter(METRICS)) == "cldice"
        assert known_metrics(["clDice (Lee skeleton)", "cldice"]) == ("centreline_dsc", "cldice")

    def test_keys_are_returned_unchanged(self) -> None:
        assert known_metrics(METRICS) == tuple(METRICS)

    @pytest.mark.parametrize(("name", "near"), [("clDicee", "clDice"), ("dcs", "DSC"), ("HD9", "HD95")])
    def test_unknown_name_suggests_the_nearest(self, name: str, near: str) -> None:
        with pytest.raises(ConfigError) as caught:
            known_metrics([name])
        assert repr(name) in caught.value.got
        assert near in caught.value.cure

    @pytest.mark.parametrize(
        ("name", "key"), [("dice", "dsc"), ("Dice score", "dsc"), ("assd", "measured_masd"), ("cl_dice", "cldice")]
    )
    def test_names_of_other_tools_suggest_the_right_key_and_list_all(self, name: str, key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            known_metrics([name])
        assert repr(key) in caught.value.cure
        assert all(known in caught.value.expected for known in METRICS)


class TestConnectivityNote:
    def test_names_the_connectivity_of_each_topology_metric_once(self) -> None:
        note = connectivity_note(["dsc", "cldice", "centreline_dsc", "betti0_error"])
        assert note.count("clDice") == note.count("Betti-0") == 1
        assert note.count("26-connected") == 2
        assert "Betti-1" not in note

    def test_is_empty_without_topology(self) -> None:
        assert connectivity_note(["dsc", "measured_masd"]) == ""
