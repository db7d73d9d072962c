from __future__ import annotations

from dataclasses import replace

import numpy as np

from minivess.data.array_store import Store
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.cell_spec import code_of_cell
from minivess.metrics.overlap import dsc
from minivess.models.model_profile import WEIGHTS_FILE, load_model_profile
from minivess.models.shipped import SHIPPED
from minivess.models.weights import load_network, read_saved


def nothing(done: int, total: int) -> None: ...


class TestPhantomNetwork:
    def test_it_finds_vessels_and_reads_no_label(self, store: Store) -> None:
        case, baseline = store.case("phantom02"), BASELINES["phantom"]
        level = baseline.choose_level([replace(case, label=1 - case.label)], nothing)
        assert level == baseline.choose_level([], nothing) == 0.5
        mask = baseline.mask(case, level, nothing)
        assert mask.shape == case.label.shape
        assert set(np.unique(mask)) == {0, 1}
        assert dsc(mask != 0, case.label != 0) > 0.2
        np.testing.assert_array_equal(mask, baseline.mask(replace(case, label=1 - case.label), level, nothing))

    def test_intensities_are_normalised_so_a_hot_voxel_does_not_count(self, store: Store) -> None:
        case = store.case("phantom02")
        hot = case.image.astype(np.float32)
        hot[40, 40, 5] = 1e6
        masks = [BASELINES["phantom"].mask(replace(case, image=image), 0.5, nothing) for image in (case.image, hot)]
        assert (masks[0] != masks[1]).mean() < 0.01

    def test_the_network_that_ships_is_small_and_loads(self) -> None:
        assert (SHIPPED / WEIGHTS_FILE).stat().st_size < 3_000_000
        assert load_network(SHIPPED).training is False
        trained_on = read_saved(SHIPPED).trained_on
        assert trained_on is not None
        assert trained_on.kind == "phantoms"

    def test_other_weights_are_other_code(self) -> None:
        network = read_saved(SHIPPED).network
        names = code_of_cell("phantom", network).builders
        assert "the network that ships" in names
        assert "the network that ships" not in code_of_cell("threshold", network).builders
        assert load_model_profile("dynunet").builder == network.builder
