from __future__ import annotations

from minivess.metrics.older_scores import shared_metric


class TestSharedMetric:
    def test_all_scores_are_compared_in_the_older_metric_if_one_lacks_the_newer(self) -> None:
        new, old = {"cldice": 0.5, "centreline_dsc": 0.6}, {"cldice": None, "centreline_dsc": 0.7}
        assert shared_metric("cldice", [new, new]) == "cldice"
        assert shared_metric("cldice", [new, old]) == "centreline_dsc"
        assert shared_metric("cldice", [new, {"centreline_dsc": 0.7}]) == "centreline_dsc"

    def test_other_metrics_have_no_older_one(self) -> None:
        assert shared_metric("dsc", [{"dsc": None}]) == "dsc"
