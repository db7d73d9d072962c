"""False claims, coverage and power of the verdicts, by simulation with groups, cases, folds and repeats nested.

    python benchmarks/verdict_simulation.py                 (or `just verdicts`; some five minutes on one core)
    python benchmarks/verdict_simulation.py --samples 200   (short)

Each sample is one study: the difference of two losses on every case and repeat. The verdict of minivess is compared with
three others on the same samples: all rows taken as independent (t test on cases x repeats), the sign-flip test on cases and
the t test on cases, both with the repeats averaged, and with nested resampling of groups, cases and repeats. Seeded. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from minivess.metrics.catalogue import METRICS
from minivess.statistics.confidence import bounds
from minivess.statistics.decide import decide_losses
from minivess.statistics.nested import Design
from minivess.statistics.resampling import sign_flip_p_value
from minivess.statistics.rule import ComparisonConfig
from minivess.statistics.score_table import Row

Values = NDArray[np.float64]

LEVEL, FOLDS = 0.95, 3
MARGIN = 0.01
GROUP, CASE, NETWORK, REST = 0.03, 0.04, 0.02, 0.02
"""Standard deviations of the difference: between animals, volumes, trained networks, and the rest."""
FAILURE, SHARE = 0.5, 0.1
"""A loss that fails loses 0.5 on a tenth of the volumes, and is better on the others, so that the means stay."""
DESIGNS = ((7, 0), (24, 0), (70, 0), (24, 3), (24, 6), (24, 12), (70, 6), (70, 12), (12, 3), (12, 4), (7, 3))
"""Cases and groups; no groups: 0."""
EFFECTS = ("normal", "skewed", "either fails", "one fails")
RESAMPLES = 400


@dataclass(frozen=True)
class Study:
    """The design of a simulated study."""

    cases: int
    groups: int
    repeats: int
    effect: str

    @property
    def design(self) -> Design:
        groups = np.arange(self.cases) % self.groups if self.groups else np.arange(self.cases)
        return Design.complete(groups.tolist(), (groups % FOLDS).tolist(), self.repeats)

    def draw(self, samples: int) -> tuple[Values, Values]:
        """Return differences with a true mean of 0, (samples, cases, repeats), and the mean of these trained networks."""
        rng, design = np.random.default_rng(zlib.crc32(repr(self).encode())), self.design
        case = _effect(rng, self.effect, (samples, design.cases))
        if self.groups:
            case = CASE * case + GROUP * _effect(rng, self.effect, (samples, design.groups))[:, design.group]
        else:
            case = np.hypot(GROUP, CASE) * case
        if "fails" in self.effect:
            case += SHARE * FAILURE - np.where(rng.random(case.shape) < SHARE, FAILURE, 0)
        if self.effect == "either fails":
            case -= SHARE * FAILURE - np.where(rng.random(case.shape) < SHARE, FAILURE, 0)
        networks = NETWORK * rng.normal(size=(samples, design.folds, self.repeats))
        rest = REST * rng.normal(size=(samples, design.cases, self.repeats))
        of_networks = networks.mean(axis=2) @ design.fold_weights
        return case[..., None] + networks[:, design.fold] + rest, of_networks


def _effect(rng: np.random.Generator, effect: str, shape: tuple[int, ...]) -> Values:
    """Draw effects with mean 0 and standard deviation 1; the skewed ones are log-normal with sigma 0.8."""
    if effect != "skewed":
        return rng.normal(size=shape)
    drawn = rng.lognormal(0, 0.8, size=shape)
    return (drawn - np.exp(0.32)) / np.sqrt((np.exp(0.64) - 1) * np.exp(0.64))


@dataclass(frozen=True)
class Rates:
    """Percentages of studies.

    Attributes:
        missed: The interval does not contain the truth. A test at 5 % finds a difference that is not there as often.
        wrong: The verdict is wrong, at the true difference where this is most frequent: none, or just inside or just
            outside the margin.
        power: Better by more than the margin is found if the true difference is 0.05, and if it is 0.1.
    """

    missed: float
    wrong: float
    power: tuple[float, float]


def rates(low: Values, high: Values, truth: Values) -> Rates:
    """Return the rates of intervals of a difference whose true value, 0 or that of the trained networks, is ``truth``."""
    low, high = low - truth, high - truth
    missed = np.mean((low > 0) | (high < 0))
    wrong = max(
        _wrong(low, high, true, inside) for true in (0, MARGIN, -MARGIN) for inside in (True, False) if true or inside
    )
    power = [float(100 * np.mean(low + difference > MARGIN)) for difference in (0.05, 0.1)]
    return Rates(100 * float(missed), 100 * wrong, (power[0], power[1]))


def _wrong(low: Values, high: Values, true: float, inside: bool) -> float:
    """Return the share of wrong verdicts if the true difference is ``true``, just inside or just outside the margin."""
    better, worse = low + true > MARGIN, high + true < -MARGIN
    equivalent = (low + true >= -MARGIN) & (high + true <= MARGIN)
    if inside:
        return float(np.mean(better | worse))
    return float(np.mean(equivalent | (worse if true > 0 else better)))


def minivess_interval(study: Study, values: Values) -> tuple[Values, Values]:
    """The method that is used."""
    return bounds(study.design.estimate(values), LEVEL)


def naive_interval(study: Study, values: Values) -> tuple[Values, Values]:
    """All cases and repeats as independent rows."""
    return _t_interval(values.reshape(len(values), -1))


def case_interval(study: Study, values: Values) -> tuple[Values, Values]:
    """Student's t over the cases, repeats averaged, groups ignored."""
    return _t_interval(values.mean(axis=2))


def _t_interval(rows: Values) -> tuple[Values, Values]:
    n, mean = rows.shape[1], rows.mean(axis=1)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * rows.std(axis=1, ddof=1) / n**0.5
    return mean - half, mean + half


def resampled_interval(study: Study, values: Values) -> tuple[Values, Values]:
    """Percentiles of nested resampling: groups, then cases of the group, then repeats of each fold."""
    design, rng = study.design, np.random.default_rng(0)
    drawn = np.empty((len(values), RESAMPLES))
    members = [np.flatnonzero(design.group == group) for group in range(design.groups)]
    for number in range(RESAMPLES):
        picks = [members[group] for group in rng.integers(design.groups, size=design.groups)]
        cases = [rng.choice(own, len(own)) for own in picks]
        repeats = rng.integers(study.repeats, size=(design.folds, study.repeats))
        means = [values[:, own[:, None], repeats[design.fold[own]]].mean(axis=(1, 2)) for own in cases]
        drawn[:, number] = np.mean(means, axis=0)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return low, high


def sign_flip_rate(values: Values, truth: Values) -> float:
    """Percentage of samples in which the sign-flip test on cases finds a difference that is not there."""
    differences = values.mean(axis=2) - truth[:, None]
    return 100 * float(
        np.mean([sign_flip_p_value(own, 999, seed) <= 1 - LEVEL for seed, own in enumerate(differences)])
    )


def row(cases: int, groups: int, repeats: int, samples: int) -> str:
    """Return one line of the table: coverage and wrong verdicts for each kind of effects, then figures for normal ones."""
    cells = []
    for effect in EFFECTS:
        study = Study(cases, groups, repeats, effect)
        values, of_networks = study.draw(samples)
        truth = of_networks if repeats == 1 else np.zeros(samples)
        own = rates(*minivess_interval(study, values), truth)
        cells.append(f"{100 - own.missed:.1f} ({own.wrong:.1f})")
        if effect == "normal":
            others = [own.power[0], own.power[1], *_others(study, values, truth)]
    figures = " | ".join([*cells, *(f"{value:.0f}" for value in others)])
    return f"| {groups or 'none'} | {cases} | {repeats} | {figures} |"


def _others(study: Study, values: Values, truth: Values) -> list[float]:
    """Return how often the other methods find a difference that is not there; the slow ones on 500 samples."""
    some = slice(0, min(len(values), 500))
    return [
        rates(*naive_interval(study, values), truth).missed,
        rates(*case_interval(study, values), truth).missed,
        sign_flip_rate(values[some], truth[some]),
        rates(*resampled_interval(study, values[some]), truth[some]).missed,
    ]


HEAD = """
| groups | cases | repeats | normal | skewed | either fails | one fails | finds 0.05 | finds 0.1 | all rows | t | signs | resampled |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


def family_rate(samples: int) -> float:
    """Return the percentage of studies of four losses with any wrong verdict: 24 cases in 6 groups, 3 repeats.

    The true differences from the reference are 0, just inside the margin and just outside of it.
    """
    study, wrong = Study(24, 6, 3, "normal"), 0
    true = {"zero": 0.0, "inside": MARGIN - 1e-9, "outside": MARGIN + 1e-9}
    allowed = {"zero": {"equivalent"}, "inside": {"equivalent"}, "outside": {"better"}}
    design = study.design
    values = np.stack([study.draw(4 * samples)[0][number::4] for number in range(4)]) / 2**0.5
    rule = ComparisonConfig(primary="cldice", margin=MARGIN, against="reference", level=LEVEL)
    places = [(case, repeat) for case in range(study.cases) for repeat in range(study.repeats)]
    for sample in range(samples):
        table = {}
        for number, (loss, mean) in enumerate({"reference": 0.0, **true}.items()):
            scores = values[number, sample] + mean
            table[loss] = tuple(
                Row(loss, int(design.fold[k]), f"c{k:02d}", r + 1, f"g{design.group[k]}", "", {"cldice": scores[k, r]})
                for k, r in places
            )
        found = decide_losses(table, list(true), rule, METRICS["cldice"])
        wrong += any(one.verdict not in {*allowed[one.method], "undecided"} for one in found)
    return 100 * wrong / samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000, help="studies per line")
    samples = parser.parse_args().samples
    print(HEAD)
    for cases, groups in DESIGNS:
        for repeats in (1, 2, 3, 5):
            print(row(cases, groups, repeats, samples), flush=True)
    print(f"\nAny wrong verdict of three losses against a reference: {family_rate(samples // 4):.1f} %")


if __name__ == "__main__":
    main()
