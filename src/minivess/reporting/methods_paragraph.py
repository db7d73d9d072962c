"""A methods section ready to paste into a paper. Every number comes from the run."""

from __future__ import annotations

from collections.abc import Iterator

from minivess.metrics.catalogue import METRICS
from minivess.reporting.run_data import RunData
from minivess.statistics.decision import Decision
from minivess.text import counted, format_shape, joined

SOURCES = {
    "dice_ce": "Isensee et al., Nat. Methods 2021",
    "dice_ce_cldice": "Shit et al., CVPR 2021",
    "cbdice": "Shi et al., MICCAI 2024",
    "cbdice_cldice": "Shit et al., CVPR 2021; Shi et al., MICCAI 2024",
    "clce": "Acebes et al., MICCAI 2024",
    "warp": "after Hu, NeurIPS 2022",
    "skeleton_recall": "Kirchhoff et al., ECCV 2024",
    "tversky": "Salehi et al., MLMI 2017",
    "focal_tversky": "Abraham and Khan, ISBI 2019",
}
"""The paper of each loss."""
_SCNP = "Valverde et al., CVPR 2026"


def methods_paragraph(facts: RunData) -> list[str]:
    """Return the paragraphs: data and training, then scores and statistics."""
    return [" ".join(_training(facts)), " ".join(_statistics(facts))]


def _training(facts: RunData) -> Iterator[str]:
    plan, training, profile = facts.plan, facts.config.training, facts.profile
    yield (
        f"We compared {counted(len(facts.losses), 'loss', 'losses')}: {joined(map(_cited, facts.losses))}. "
        f"Each was trained on {counted(len(profile.volumes), 'volume')} {_folds(facts)}"
    )
    if profile.known_fraction is not None and profile.known_fraction < 1:
        yield (
            f"Of all voxels, {profile.known_fraction:.1%} were labelled; the others counted neither in the losses nor in "
            "the scores."
        )
    yield (
        f"The network was {plan.network.model} with {joined(map(str, plan.network.filters))} feature maps, trained for "
        f"{training.steps} steps with AdamW (peak learning rate {training.learning_rate:g}) on batches of {plan.batch} "
        f"patches of {format_shape(plan.patch)} voxels in {plan.precision}, at native resolution; all losses of a fold "
        "started from the same weights and saw the same patches. The moving average of the weights after the last step "
        "was scored, without a choice of checkpoint."
    )
    yield f"We used minivess {facts.environment['minivess']} and torch {facts.environment['packages'].get('torch')}."


def _folds(facts: RunData) -> str:
    splits = facts.folder.read_splits()
    held_out = {name for fold in splits.folds for name in fold.held_out}
    groups = " No group of volumes was split between training and held-out volumes." if splits.groups else ""
    if len(splits.folds) == 1:
        return f"with a single split; the networks were scored on {counted(len(held_out), 'held-out volume')}.{groups}"
    start = f"with {len(splits.folds)}-fold cross-validation"
    if len(held_out) < len(facts.profile.volumes):
        return f"{start}; {len(held_out)} of them were held out once and scored by a network that had not seen them.{groups}"
    return f"{start}, so that every volume was scored by a network that had not seen it.{groups}"


def _statistics(facts: RunData) -> Iterator[str]:
    names = [METRICS[metric.metric].heading for metric in facts.comparison.metrics]
    yield (
        f"Volumes were scored with {joined(names)} by the definitions of MetricsReloaded (Maier-Hein et al., Nat. "
        "Methods 2024), but with complete centrelines in clDice, because the usual skeleton deletes vessels."
    )
    decision = facts.comparison.decision
    yield from _without_rule(facts) if decision is None else _with_rule(decision)


def _with_rule(decision: Decision) -> Iterator[str]:
    rule = decision.rule
    when = "Before the first training we fixed" if decision.beforehand else "After the trainings we chose"
    unit = f" {METRICS[rule.primary].unit}".rstrip()
    yield (
        f"{when} {METRICS[rule.primary].title} as the metric that decides, {rule.against} as the reference loss, and "
        f"{rule.margin:g}{unit} as the largest difference that does not matter. A loss was called better or worse if the "
        "whole confidence interval of its difference from the reference was beyond that margin, equivalent if the interval "
        "was within it, and undecided otherwise."
    )
    if not decision.losses:
        return
    first = decision.losses[0]
    unit_of = f"{counted(first.groups, 'group')} (animals)" if first.groups else f"{counted(first.cases, 'volume')}"
    repeats = f"Each fold was trained {first.repeats} times with different seeds. " if first.repeats > 1 else ""
    yield (
        f"{repeats}Differences were paired by volume and averaged over {unit_of}; their intervals use Student's t with "
        "Satterthwaite's degrees of freedom, widened for skewness (Johnson 1978), and include the variance between "
        f"{'groups and trainings' if first.repeats > 1 else 'groups' if first.groups else 'volumes'}. "
        f"Holm's method kept all verdicts together at {rule.level:.0%} confidence."
    )


def _without_rule(facts: RunData) -> Iterator[str]:
    repeats = facts.comparison.repeats
    trained = f"Each fold was trained {repeats} times with different seeds. " if repeats > 1 else ""
    test = "t tests that include the variance between trainings" if repeats > 1 else "sign-flip tests"
    yield (
        f"{trained}No comparison was fixed before the trainings; all pairs of losses were compared with paired {test}, "
        "corrected with Holm's method over the pairs of each metric, and are exploratory. "
        f"Intervals are {facts.comparison.level:.0%} bootstrap intervals."
    )


def _cited(loss: str) -> str:
    if loss.startswith("scnp_"):
        base = SOURCES.get(loss.removeprefix("scnp_"))
        return f"{loss} ({'; '.join(filter(None, (_SCNP, base)))})"
    return f"{loss} ({SOURCES[loss]})" if loss in SOURCES else loss
