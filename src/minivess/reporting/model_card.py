"""The model card (Mitchell et al., FAT* 2019) of the network that a run recommends, from what the run knows of it."""

from __future__ import annotations

import shlex

from minivess.experiments.best_model import BestModel, find_best_model
from minivess.reporting.run_data import RunData
from minivess.text import counted, joined
from minivess.text import format_shape_html as by


def model_card(facts: RunData) -> list[tuple[str, str]]:
    """Headings and texts; empty while no loss has finished on every fold."""
    found = find_best_model(facts.folder)
    if found is None:
        return []
    return [
        ("network", _network(facts, found)),
        ("made for", _purpose(facts)),
        ("scores", _scores(facts, found)),
        ("weakest on", _weakest(found)),
        ("not known", _unknown(facts)),
        ("use", f"minivess predict {shlex.quote(str(found.cell.path))} volume.nii.gz -o masks/"),
    ]


def _network(facts: RunData, found: BestModel) -> str:
    network, training = facts.plan.network, facts.config.training
    trained_on = facts.folder.read_splits().folds[found.fold].train
    return (
        f"{network.model} with {joined(map(str, network.filters))} feature maps, trained with {found.loss} for {training.steps} "
        f"steps on {facts.plan.batch} patches of {by(facts.plan.patch)} voxels; the averaged weights of the last step. "
        f"It is that of fold {found.fold} of {facts.config.folds}, chosen before anything was scored, "
        f"and was trained on {joined(trained_on)}."
    )


def _purpose(facts: RunData) -> str:
    shapes = facts.profile.min_shape, facts.profile.max_shape
    axes = list(zip(*(volume.spacing_um for volume in facts.profile.volumes), strict=True))
    return (
        f"Finding vessels in volumes like the {len(facts.profile.volumes)} of this data set: {by(shapes[0])} to {by(shapes[1])} "
        f"voxels of {by([min(axis) for axis in axes])} to {by([max(axis) for axis in axes])} µm, at their own resolution. "
        "Not for diagnosis."
    )


def _scores(facts: RunData, found: BestModel) -> str:
    means = [
        f"{metric.title} {metric.score(found.loss).interval} {metric.unit}".strip()
        for metric in facts.comparison.metrics
    ]
    return (
        f"{'; '.join(means)} over {counted(len(found.rows), 'case')}, each scored by the network that had not seen it: "
        f"what to expect of {found.loss} on such volumes, not of this one network."
    )


def _weakest(found: BestModel) -> str:
    rows = sorted(found.rows, key=lambda row: row.metrics.dsc)
    return "; ".join(f"{row.case}, DSC {row.metrics.dsc:.3f}" for row in rows[:3]) + "."


def _unknown(facts: RunData) -> str:
    return (
        f"How it does on other microscopes, organs, stains or spacings, and how much another seed than {facts.config.seed} would change. "
        "Errors of the labels are learned with them."
    )
