"""Model card (Mitchell et al., FAT* 2019) of the network that a run recommends."""

from __future__ import annotations

import shlex
from statistics import fmean

from minivess.experiments.best_model import BestModel, find_best_model
from minivess.reporting.run_data import RunData
from minivess.text import counted, joined
from minivess.text import format_shape_html as by


def model_card(facts: RunData) -> list[tuple[str, str]]:
    """Return headings and texts of the card; empty if no loss has finished on every fold."""
    found = find_best_model(facts.folder)
    if found is None:
        return []
    model = found.cell.path if len(found.members) == 1 else facts.folder.path
    return [
        ("network", _network(facts, found)),
        ("intended use", _purpose(facts)),
        ("scores", _scores(facts, found)),
        *_test_scores(facts, found),
        ("lowest DSC", _weakest(found)),
        ("limitations", _unknown(facts)),
        ("use", f"minivess predict {shlex.quote(str(model))} volume.nii.gz -o masks/"),
    ]


def _network(facts: RunData, found: BestModel) -> str:
    network, training = facts.plan.network, facts.config.training
    folds = facts.folder.read_splits().folds
    if len(found.members) > 1:
        choice = (
            f"The model is the {found.place}, one for each fold{' and repeat' if facts.config.repeats > 1 else ''}: the mean "
            "of their probabilities. Each was trained on the cases outside of its fold."
        )
    else:
        choice = (
            f"It is the network of {found.place} ({counted(facts.config.folds, 'fold')}); this choice was fixed before any "
            f"scoring. It was trained on {joined(folds[found.fold].train)}."
        )
    return (
        f"{network.model} with {joined(map(str, network.filters))} feature maps, trained with {found.loss} for {training.steps} "
        f"steps on {facts.plan.batch} patches of {by(facts.plan.patch)} voxels. Its weights are the averaged weights of the last step. "
        f"{choice}"
    )


def _purpose(facts: RunData) -> str:
    shapes = facts.profile.min_shape, facts.profile.max_shape
    axes = list(zip(*(volume.spacing_um for volume in facts.profile.volumes), strict=True))
    known = facts.profile.known_fraction
    sparse = "" if known is None or known == 1 else f" Of the voxels of these volumes, {known:.1%} were labelled."
    return (
        f"Segment vessels in volumes like the {len(facts.profile.volumes)} of this data set: {by(shapes[0])} to {by(shapes[1])} "
        f"voxels of {by([min(axis) for axis in axes])} to {by([max(axis) for axis in axes])} µm, at native resolution. "
        f"Not for diagnosis.{sparse}"
    )


def _scores(facts: RunData, found: BestModel) -> str:
    means = [
        f"{metric.title} {metric.score(found.loss).interval} {metric.unit}".strip()
        for metric in facts.comparison.metrics
    ]
    cases = counted(len({row.case for row in found.rows}), "case")
    not_scored = "not this single network" if len(found.members) == 1 else "not the ensemble, which may be better"
    return (
        f"{'; '.join(means)} over {cases}, each scored by a network that was not trained on it. "
        f"These scores describe {found.loss} on such volumes, {not_scored}."
    )


def _test_scores(facts: RunData, found: BestModel) -> list[tuple[str, str]]:
    """Return the scores of this network on the test set; empty if it was not scored on one."""
    unseen = facts.unseen
    if unseen is None or unseen.cell != found.name:
        return []
    metrics = facts.comparison.metrics
    means = [f"{metric.title} {unseen.interval(metric.metric)} {metric.unit}".strip() for metric in metrics]
    cases = counted(len(unseen.rows), "case")
    return [("test set", f"{'; '.join(means)} over {cases} that no network of this run was trained on or chosen by.")]


def _weakest(found: BestModel) -> str:
    scores: dict[str, list[float]] = {}
    for row in found.rows:
        scores.setdefault(row.case, []).append(row.metrics.dsc)
    lowest = sorted((fmean(values), case) for case, values in scores.items())[:3]
    return "; ".join(f"{case}, DSC {dsc:.3f}" for dsc, case in lowest) + "."


def _unknown(facts: RunData) -> str:
    seeds = facts.config.repeats
    other = f"a seed other than {facts.config.seed}" if seeds == 1 else f"seeds other than the {seeds} of the run"
    return (
        f"Not tested: other microscopes, organs, stains or spacings, and the effect of {other}. "
        "The network also learns the errors of the labels."
    )
