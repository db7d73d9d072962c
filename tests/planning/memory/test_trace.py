"""Traces of one convolution with 56 parameters, 224 bytes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from minivess.errors import PlanError
from minivess.models.model_profile import NetworkSpec
from minivess.planning.memory.trace import Trace, trace_inference, trace_training
from minivess.planning.memory.workload import InferenceWorkload, TrainingWorkload

VOXELS = 8 * 8 * 4


def _training(network: NetworkSpec, **changes: object) -> TrainingWorkload:
    values = {
        "network": network,
        "loss": "dice_ce",
        "patch": (8, 8, 4),
        "batch": 2,
        "precision": "fp32",
        "device": "cpu",
    }
    return TrainingWorkload.model_validate({**values, **changes})


def _held_at_end(trace: Trace) -> Counter[str]:
    held: Counter[str] = Counter()
    for change in trace.changes:
        held[trace.roles[change.block]] += change.size_bytes
    return held


class TestTraining:
    def test_memory_that_remains_after_a_step_has_the_right_roles(self, one_layer: NetworkSpec) -> None:
        held = _held_at_end(trace_training(_training(one_layer)))
        assert held["parameters"] == held["gradients"] == held["average"] == 224
        assert held["optimizer"] == 2 * 224 + 2 * 4  # both moments, and a step count for weight and for bias
        assert held["inputs"] == 2 * VOXELS * (4 + 1 + 1)
        assert held["activations"] == held["temporaries"] == held["workspace"] == 0

    def test_a_settled_step_releases_all_that_it_allocates(self, one_layer: NetworkSpec) -> None:
        trace = trace_training(_training(one_layer))
        assert sum(change.size_bytes for change in trace.changes[trace.settled :]) == 0

    def test_the_phases_are_in_the_right_order(self, one_layer: NetworkSpec) -> None:
        trace = trace_training(_training(one_layer))
        phases = [change.phase for change in trace.changes[trace.settled :]]
        assert list(dict.fromkeys(phases)) == ["update", "forward", "loss", "backward"]  # zero_grad comes first
        assert phases[-1] == "update"

    def test_loss_scaling_is_traced_although_it_reads_values(self, one_layer: NetworkSpec) -> None:
        held = _held_at_end(trace_training(_training(one_layer, precision="fp16")))
        assert held["optimizer"] == 2 * 224 + 2 * 4

    def test_the_random_state_of_the_caller_does_not_change(self, one_layer: NetworkSpec) -> None:
        before = torch.random.get_rng_state()
        trace_training(_training(one_layer))
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_a_network_with_value_dependent_shapes_is_refused(self, one_layer: NetworkSpec) -> None:
        peeking = one_layer.model_copy(update={"builder": "one_layer:build_peeking"})
        with pytest.raises(PlanError, match="DynamicOutputShape"):
            trace_training(_training(peeking))


class TestInference:
    def test_the_accumulators_are_as_deep_as_a_slab(self, one_layer: NetworkSpec) -> None:
        work = InferenceWorkload(
            network=one_layer, patch=(8, 8, 4), volume_shape=(16, 12, 9), precision="fp32", device="cpu"
        )
        trace = trace_inference(work)
        inputs = sum(
            change.size_bytes
            for change in trace.changes[: trace.settled]
            if trace.roles[change.block] == "inputs" and change.size_bytes > 0
        )
        assert inputs == 4 * (VOXELS + 3 * 16 * 12 * 4)  # weights of a window; per voxel two logits and their weight
