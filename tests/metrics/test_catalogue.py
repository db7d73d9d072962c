"""Metrics by name and by title."""

from __future__ import annotations

import pytest

from minivess.errors import ConfigError
from minivess.metrics.catalogue import METRICS, known_metrics


class TestKnownMetrics:
    def test_titles_as_a_table_prints_them_in_any_case_each_once(self) -> None:
        titles = ["clDice", "CLDICE", "MASD", "masd (Voxels)", "betti-0 error", "dsc"]
        assert known_metrics(titles) == (
            "centreline_dsc",
            "measured_masd",
            "measured_masd_voxel",
            "betti0_error",
            "dsc",
        )

    def test_names_stay_what_they_are(self) -> None:
        assert known_metrics(METRICS) == tuple(METRICS)

    @pytest.mark.parametrize(("name", "near"), [("clDicee", "clDice"), ("dcs", "DSC"), ("HD9", "HD95")])
    def test_the_nearest_is_named(self, name: str, near: str) -> None:
        with pytest.raises(ConfigError, match=f"did you mean '{near}"):
            known_metrics([name])
