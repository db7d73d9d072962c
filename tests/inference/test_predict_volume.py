"""Sliding-window prediction."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from minivess.geometry import Shape
from minivess.inference.predict_volume import predict_volume
from minivess.models.model_profile import NetworkSpec, build_network, load_model_profile


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(4, 2, 3, padding=1)
    )


@pytest.fixture
def four_levels() -> NetworkSpec:
    model = load_model_profile("dynunet", filters=(2, 4, 4, 8))
    return model.spec(((32, 32, 4),), model.plan_strides((32, 32, 4), (0.99, 0.99, 5.0)))


def _volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class TestTrainingMode:
    def test_dropout_is_off_during_a_prediction(self, network: torch.nn.Module) -> None:
        dropping = torch.nn.Sequential(torch.nn.Dropout(0.5), network).train()
        masks = [predict_volume(each, _volume(16, 16, 8), (16, 16, 8)) for each in (dropping, network)]
        np.testing.assert_array_equal(*masks)

    def test_is_restored_even_after_an_error(self, network: torch.nn.Module) -> None:
        def fail(block: np.ndarray) -> np.ndarray:
            raise RuntimeError("no")

        network.train()
        with pytest.raises(RuntimeError, match="no"):
            predict_volume(network, _volume(16, 16, 4), (16, 16, 4), normalise=fail)
        assert network.training


class TestPredictVolume:
    @pytest.mark.parametrize(
        ("shape", "patch", "overlap"),
        [
            ((40, 37, 19), (16, 16, 8), 0.5),
            ((40, 37, 5), (16, 16, 8), 0.5),
            ((33, 30, 40), (16, 24, 8), 0.25),
            ((12, 40, 40), (16, 16, 8), 0.6),
            ((40, 40, 8), (16, 16, 8), 0.0),
        ],
    )
    def test_equals_monai(self, network: torch.nn.Module, shape: Shape, patch: Shape, overlap: float) -> None:
        from monai.inferers import sliding_window_inference

        volume = _volume(*shape)
        ours = predict_volume(network, volume, patch, overlap, probabilities=True, windows=3)
        with torch.no_grad():
            logits = sliding_window_inference(
                torch.from_numpy(volume)[None, None],
                patch,
                4,
                network,
                overlap,
                mode="gaussian",
                padding_mode="replicate",
            )
        np.testing.assert_allclose(ours, logits.softmax(1)[0, 1].numpy(), atol=1e-6)

    def test_the_mask_is_set_where_vessel_is_more_likely(self, network: torch.nn.Module) -> None:
        volume = _volume(20, 20, 10)
        mask = predict_volume(network, volume, (16, 16, 8))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, predict_volume(network, volume, (16, 16, 8), probabilities=True) > 0.5)

    def test_prediction_keeps_five_slices(self, network: torch.nn.Module) -> None:
        assert predict_volume(network, _volume(24, 24, 5), (16, 16, 8)).shape == (24, 24, 5)

    def test_a_dynunet_predicts_five_slices_with_windows_of_four(self, four_levels: NetworkSpec) -> None:
        """The first slice is only in the upper window, the last slice only in the lower window."""
        torch.manual_seed(0)
        network, volume = build_network(four_levels), _volume(32, 32, 5)
        whole = predict_volume(network, volume, four_levels.largest_patch, probabilities=True)
        with torch.no_grad():
            windows = [
                network(torch.from_numpy(part.copy())[None, None]) for part in (volume[..., :4], volume[..., 1:])
            ]
        upper, lower = (logits.softmax(1)[0, 1].numpy() for logits in windows)
        assert whole.shape == (32, 32, 5)
        np.testing.assert_allclose(whole[..., 0], upper[..., 0], atol=1e-6)
        np.testing.assert_allclose(whole[..., 4], lower[..., 3], atol=1e-6)

    def test_each_slab_is_normalised(self, network: torch.nn.Module) -> None:
        counts = np.full((16, 16, 4), 100, np.uint8)
        lifted = predict_volume(
            network, counts, (16, 16, 4), normalise=lambda block: (block - 90.0) / 10, probabilities=True
        )
        np.testing.assert_array_equal(
            lifted, predict_volume(network, np.ones((16, 16, 4)), (16, 16, 4), probabilities=True)
        )

    def test_mirrored_windows_are_mirrored_back_and_averaged(self, network: torch.nn.Module) -> None:
        volume, patch = _volume(16, 16, 8), (16, 16, 8)
        with torch.no_grad():
            images = [np.flip(volume, axes) for axes in ((), 0, 1, (0, 1))]
            logits = [network(torch.from_numpy(image.copy())[None, None])[0] for image in images]
        expected = np.mean(
            [np.flip(part.numpy(), axes) for part, axes in zip(logits, ((), 1, 2, (1, 2)), strict=True)], 0
        )
        ours = predict_volume(network, volume, patch, mirror=(0, 1), probabilities=True)
        np.testing.assert_allclose(ours, torch.from_numpy(expected).softmax(0)[1].numpy(), atol=1e-6)

    def test_progress_ends_at_one_and_training_mode_is_restored(self, network: torch.nn.Module) -> None:
        shares: list[float] = []
        predict_volume(network.train(), _volume(16, 16, 20), (16, 16, 8), progress=shares.append)
        assert shares[-1] == 1.0
        assert shares == sorted(shares)
        assert network.training

    def test_working_memory_does_not_grow_with_depth(self, network: torch.nn.Module) -> None:
        def peak_bytes(depth: int) -> int:
            volume = np.zeros((32, 32, depth), np.uint8)
            tracemalloc.start()
            predict_volume(network, volume, (32, 32, 8))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak - volume.nbytes

        assert peak_bytes(200) - peak_bytes(20) < 200_000
