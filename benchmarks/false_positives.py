"""False positives and power of the test between losses, by simulation.

    python benchmarks/false_positives.py             (or `just statistics`; about 10 minutes on one core)
    python benchmarks/false_positives.py --quick     (a tenth of the simulations)

The first part simulates the differences of single pairs of losses and compares the test with alternatives. The second part runs
whole tables of losses and folds through `compare`, which corrects for the number of pairs. The last part compares three fold
means. Seeded. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from minivess.statistics.compare_methods import compare
from minivess.statistics.resampling import mean_interval, sign_flip_p_value

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]

RESAMPLES = 1024  # so that up to ten cases are exact
LEVEL = 0.05
PAIR_CASES = (7, 10, 24, 70)
NOISE, FAILURE, SHARE = 0.05, 0.5, 0.1  # in units of the score; a loss that fails loses 0.5 on a tenth of the cases


def fails(rng: np.random.Generator, n: int) -> Values:
    """Draw the score that a loss loses on each case because it sometimes fails."""
    return np.where(rng.random(n) < SHARE, FAILURE, 0.0)


def skewed(sigma: float) -> Draw:
    return lambda rng, n: rng.lognormal(0, sigma, n) - np.exp(sigma**2 / 2)


SYMMETRIC: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "long tails (t, 3)": lambda rng, n: rng.standard_t(3, n),
    "either fails on 10 %": lambda rng, n: rng.normal(0, NOISE, n) + fails(rng, n) - fails(rng, n),
}
SKEWED: dict[str, Draw] = {
    "log-normal (0.8)": skewed(0.8),
    "log-normal (1)": skewed(1),
    "one fails on 10 %": lambda rng, n: rng.normal(0, NOISE, n) + SHARE * FAILURE - fails(rng, n),
}


def by_wilcoxon(values: Values, seed: int) -> float:
    """Wilcoxon's signed ranks, whose null hypothesis is a symmetric distribution and not an equal mean."""
    return float(stats.wilcoxon(values).pvalue)


def by_interval(values: Values, seed: int) -> float:
    """Return 0 if the BCa interval, which is printed next to p, excludes 0, otherwise 1."""
    interval = mean_interval(values, resamples=RESAMPLES, seed=seed)
    return 1 - float(interval.low > 0 or interval.high < 0)


def by_bootstrap_t(values: Values, seed: int) -> float:
    """Studentised bootstrap, each tail separately (Efron and Tibshirani 1993, chapter 12)."""
    n = len(values)
    drawn = np.random.default_rng(seed).choice(values - values.mean(), (RESAMPLES, n))
    spread = np.maximum(drawn.std(axis=1), 1e-12)
    t, observed = drawn.mean(axis=1) / spread, values.mean() / values.std()
    return min(1, 2 * (min((t >= observed).sum(), (t <= observed).sum()) + 1) / (RESAMPLES + 1))


def by_signs_of_johnson(values: Values, seed: int) -> float:
    """Random signs of Johnson's t (1978), which corrects for skew: exact under symmetry, closer to 5 % without symmetry."""
    signs = np.random.default_rng(seed).choice((-1, 1), (RESAMPLES, len(values)))
    statistic = np.abs(_johnson(np.vstack([values, signs * values])))
    return int((statistic >= statistic[0] * (1 - 1e-9)).sum()) / (RESAMPLES + 1)


def _johnson(samples: Values) -> Values:
    n = samples.shape[1]
    mean, variance = samples.mean(axis=1), samples.var(axis=1, ddof=1)
    third = ((samples - mean[:, None]) ** 3).mean(axis=1)
    return (mean + third / (6 * variance * n) + third * mean**2 / (3 * variance**2)) * np.sqrt(n / variance)


def by_signs(values: Values, seed: int) -> float:
    """The test that minivess uses."""
    return sign_flip_p_value(values, RESAMPLES, seed)


TESTS = {
    "**random signs** (used)": by_signs,
    "random signs of Johnson's t": by_signs_of_johnson,
    "studentised bootstrap": by_bootstrap_t,
    "Wilcoxon's signed ranks": by_wilcoxon,
    "BCa interval without 0": by_interval,
}
LARGER = "the larger p of the first and the third"


def rates(draw: Draw, n: int, shift: float, simulations: int) -> dict[str, float]:
    """Return the percentage of samples with p <= 0.05 for each test, with the mean shifted by ``shift`` standard deviations."""
    by = shift and shift * draw(np.random.default_rng(0), 1_000_000).std()
    rng = np.random.default_rng(n)
    samples = [draw(rng, n) + by for _ in range(simulations)]
    p = {name: np.array([test(values, seed) for seed, values in enumerate(samples)]) for name, test in TESTS.items()}
    used, _, studentised, *_ = p
    p[LARGER] = np.maximum(p[used], p[studentised])
    return {name: 100 * float(np.mean(found <= LEVEL)) for name, found in p.items()}


def pair_table(title: str, shifts: tuple[float, ...], cases: tuple[int, ...], simulations: int) -> None:
    draws = SYMMETRIC | SKEWED
    print(f"\n{title}\n\n| cases | test | {' | '.join(draws)} |\n|---:|---|{'---:|' * len(draws)}")
    form = ".1f" if shifts == (0,) else ".0f"
    for n in cases:
        found = [[rates(draw, n, shift, simulations) for shift in shifts] for draw in draws.values()]
        for name in (*TESTS, LARGER):
            cells = [" / ".join(f"{one[name]:{form}}" for one in own) for own in found]
            print(f"| {n} | {name} | {' | '.join(cells)} |", flush=True)


def claims(losses: int, cases: int, folds: int, ahead: float, failing: bool, seed: int) -> tuple[bool, bool]:
    """Return whether `compare` finds a difference between two losses of equal mean, with and without Holm's correction.

    Cases differ in difficulty, losses in noise. The first loss is better than the others by ``ahead``. With ``failing``, the last
    loss sometimes fails and is better on the other cases, so that its mean is equal.
    """
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.75, 0.1, cases) + rng.normal(0, NOISE, (losses, cases))
    scores[0] += ahead
    if failing:
        scores[-1] += SHARE * FAILURE - fails(rng, cases)
    rows = [
        {"method": f"loss{m}", "fold": k % folds, "case": f"case{k}", "dsc": score}
        for m, own in enumerate(scores)
        for k, score in enumerate(own)
    ]
    pairs = compare(rows, ("dsc",), resamples=100).metrics[0].pairs
    equal = [pair for pair in pairs if not ahead or "loss0" not in (pair.first, pair.second)]
    return any(pair.better for pair in equal), any(pair.test.p_value <= LEVEL for pair in equal)


def family_table(simulations: int) -> None:
    print("\n| losses | cases | folds | truth | false claim, % | without Holm, % |\n|---:|---:|---:|---|---:|---:|")
    kinds = {
        "all equal": (0, False),
        "one better by 0.2, the others equal": (0.2, False),
        "one fails on 10 %": (0, True),
    }
    for losses, cases, folds in ((4, 10, 2), (6, 24, 3)):
        for name, (ahead, failing) in kinds.items():
            found = [claims(losses, cases, folds, ahead, failing, seed) for seed in range(simulations)]
            holm, without = 100 * np.mean(found, axis=0)
            print(f"| {losses} | {cases} | {folds} | {name} | {holm:.1f} | {without:.1f} |", flush=True)


def three_means(simulations: int) -> float:
    """Return the percentage of equal pairs of losses between which a bootstrap of three centred fold means finds a difference."""
    picks = np.array(list(itertools.product(range(3), repeat=3)))
    folds = np.random.default_rng(0).normal(size=(simulations, 3))
    found = folds.mean(axis=1, keepdims=True)
    p = np.mean(abs(folds[:, picks].mean(axis=2) - found) >= abs(found) - 1e-12, axis=1)
    return 100 * float(np.mean(p <= LEVEL))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run a tenth of the simulations")
    tenth = 10 if parser.parse_args().quick else 1
    pair_table("False positives, %:", (0,), PAIR_CASES, 1000 // tenth)
    pair_table("Found, %, of a difference of half a standard deviation, up / down:", (0.5, -0.5), (7, 24), 500 // tenth)
    family_table(200 // tenth)
    print(f"\nThree fold means, bootstrapped: {three_means(100_000 // tenth):.0f} % false positives.")


if __name__ == "__main__":
    main()
