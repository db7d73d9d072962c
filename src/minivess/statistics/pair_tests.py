"""Test pairs of methods in one metric: those that a rule decides, and all others, which are exploratory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from minivess.metrics.catalogue import Metric
from minivess.statistics.comparison import Pair
from minivess.statistics.decision import Decision, LossDecision
from minivess.statistics.resampling import PairedTest, holm, nested_test, paired_bootstrap_test
from minivess.statistics.score_table import Rows, Table, cases_of, paired

_TEST_RESAMPLES = 10_000


@dataclass(frozen=True)
class CompareOptions:
    """How methods are compared.

    Attributes:
        baselines: Methods that are never tested.
        level: Nominal coverage of the intervals.
        resamples: Bootstrap resamples of an interval.
        seed: Seed of the resampling.
        known: The metrics, by key.
        elsewhere: Methods that were trained elsewhere.
        stopped: Number of losses without scores, because a race stopped them.
    """

    baselines: tuple[str, ...]
    level: float
    resamples: int
    seed: int
    known: Mapping[str, Metric]
    elsewhere: tuple[str, ...] = ()
    stopped: int = 0


def compare_pairs(
    metric: str,
    table: Table,
    compared: Sequence[str],
    settings: CompareOptions,
    primary: Decision | None,
    *,
    ruled: bool,
) -> tuple[Pair, ...]:
    """Return the pairs with their tests: those that the decision already made, and all others, corrected together."""
    tests: dict[tuple[str, str], PairedTest] = {}
    decided: dict[tuple[str, str], LossDecision] = {}
    pairs_to_test = list(combinations(compared, 2))
    # Enough resamples that the smallest p is still below the significance level after Holm correction over all pairs.
    # Tests with losses that were stopped count as tests that show nothing.
    family = math.comb(len(compared) + settings.stopped, 2)
    untested = [1.0] * (family - len(pairs_to_test))
    resamples = max(_TEST_RESAMPLES, settings.resamples, math.ceil(2 * family / (1 - settings.level)))
    of_rule = {loss.method: loss for loss in primary.losses} if primary else {}
    for first, second in pairs_to_test:
        if not cases_of(table[first]) & cases_of(table[second]):
            continue
        loss = next(
            (name for name in (first, second) if name in of_rule and of_rule[name].against in (first, second)), ""
        )
        if loss:
            decided[first, second] = of_rule[loss]
        tests[first, second] = _test(metric, table[first], table[second], settings, resamples, nested=bool(loss))
    exploratory = [pair for pair in tests if pair not in decided]
    p_values = [*(tests[pair].p_value for pair in exploratory), *untested]
    corrected = dict(zip(exploratory, holm(p_values), strict=False))
    higher = settings.known[metric].higher_is_better
    pairs = []
    for (first, second), test in tests.items():
        found = decided.get((first, second))
        # Within the rule, p is corrected as the interval of the decision is, so that the two never contradict.
        times = (1 - settings.level) / (1 - found.level) if found else 1
        p_holm = min(1.0, times * test.p_value) if found else corrected[first, second]
        winner = first if (test.difference > 0) == higher else second
        shown = bool(found.shown) if found else p_holm <= 1 - settings.level
        pairs.append(
            Pair(
                first=first,
                second=second,
                test=test,
                p_holm=p_holm,
                better=winner if shown else "",
                exploratory=ruled and found is None,
            )
        )
    return tuple(pairs)


def _test(
    metric: str, first: Rows, second: Rows, settings: CompareOptions, resamples: int, *, nested: bool
) -> PairedTest:
    """Test one pair: with random signs if each fold was trained once, else with the luck of training included."""
    design, values = paired(first, second, metric)
    if nested or design.repeated:
        return nested_test(design, values, settings.level)
    means = design.group_means(values)
    return paired_bootstrap_test(
        means, np.zeros(len(means)), design.fold_of_group, resamples, settings.seed, settings.level
    )
