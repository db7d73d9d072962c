"""Promote a registered model to champion if it is no worse than the present champion on the same cases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean

from minivess.digests import unseal
from minivess.errors import MinivessError
from minivess.experiments.run_folder import RunFolder
from minivess.publishing.register import CASES, DATA_TAG, register_run
from minivess.publishing.sync_run import tracking_uri
from minivess.statistics.resampling import PairedTest, paired_bootstrap_test
from minivess.tracking.mlflow import TrackingError
from minivess.tracking.model_registry import ModelRegistry, Version


class PromotionError(MinivessError):
    """The model was not promoted; the champion is unchanged."""

    exit_code = 7


@dataclass(frozen=True)
class Promotion:
    """The comparison of a candidate with the champion before it.

    Attributes:
        name: Name of the registered model.
        version: Version number of the candidate.
        before: Version number of the former champion; None if there was none.
        candidate: Mean dsc of the candidate over the shared cases; None without shared cases.
        champion: Mean dsc of the former champion over the shared cases; None without shared cases.
        test: Test of the difference candidate - champion, paired by case.
        objections: Reasons against promotion; empty if there are none.
    """

    name: str
    version: int
    before: int | None = None
    candidate: float | None = None
    champion: float | None = None
    test: PairedTest | None = None
    objections: tuple[str, ...] = ()

    @property
    def figures(self) -> str:
        """The comparison in one line; "" if there is no test."""
        if self.test is None:
            return ""
        test, interval = self.test, self.test.interval
        bounds = f"[{interval.low:+.4f}, {interval.high:+.4f}]" if interval.resamples else f"({interval.method})"
        return (
            f"mean dsc {self.candidate:.4f} against {self.champion:.4f} of version {self.before} on {test.n} shared cases: "
            f"difference {test.difference:+.4f} {bounds}, p = {test.p_value:.3g}"
        )


def promote_run(folder: RunFolder, number: int | None = None, *, force: bool = False) -> Promotion:
    """Give the alias ``champion`` to a run's model.

    Out-of-fold dsc is compared case by case: the candidate's mean over the cases that both versions scored must be at least the
    champion's mean, and both must come from the same data. The paired test is only information and does not decide.

    Args:
        folder: The run. It is synced with MLflow and its model is registered first, if necessary.
        number: Another version of this registered model, e.g. an older one; None for the model of the run.
        force: Promote despite all objections.

    Returns:
        The comparison with the former champion.

    Raises:
        PromotionError: There are objections, or there is no model to promote.
        TrackingError: MLflow cannot be reached, is disabled for this run, or does not have the version.
    """
    registered = register_run(folder)
    uri = tracking_uri(folder)
    if registered is None or uri is None:
        raise PromotionError(
            "a loss that finished on every fold", f"no such loss in {folder.path}", "repeat the run: it continues"
        )
    registry = ModelRegistry(uri)
    candidate = registered[0] if number is None else registry.version(registered[0].name, number)
    champion = registry.champion(candidate.name)
    found = _compare_with_champion(registry, candidate, champion)
    if found.objections and not force:
        cure = "keep the champion, or promote anyway with --force"
        got = "; ".join(filter(None, [*found.objections, found.figures]))
        raise PromotionError(f"a model no worse than {champion} on the same cases", got, cure)
    registry.promote(candidate, champion)
    return found


def _compare_with_champion(registry: ModelRegistry, candidate: Version, champion: Version | None) -> Promotion:
    if champion is None or champion.number == candidate.number:
        return Promotion(candidate.name, candidate.number, champion.number if champion else None)
    objections = []
    if candidate.tags.get(DATA_TAG) != champion.tags.get(DATA_TAG):
        objections.append(f"a model of other data ({candidate.tags.get(DATA_TAG)}, not {champion.tags.get(DATA_TAG)})")
    try:
        ours, theirs = _scores(registry, candidate), _scores(registry, champion)
    except TrackingError as error:
        objections.append(f"scores that cannot be read ({error.got})")
        ours, theirs = {}, {}
    cases = sorted(ours.keys() & theirs.keys())
    a, b = [ours[case] for case in cases], [theirs[case] for case in cases]
    if not cases:
        objections.append("no case that both models were scored on")
        return Promotion(candidate.name, candidate.number, champion.number, objections=tuple(objections))
    test = paired_bootstrap_test(a, b)
    if test.difference < 0:
        objections.append("a lower mean dsc")
    return Promotion(
        candidate.name, candidate.number, champion.number, fmean(a), fmean(b), test, objections=tuple(objections)
    )


def _scores(registry: ModelRegistry, version: Version) -> dict[str, float]:
    """Return the dsc of each held-out case."""
    try:
        content = json.loads(unseal(registry.read_evidence(version, CASES)))
        rows = content if isinstance(content, list) else content["rows"]  # a list in version 0.1
        return {str(row["case"]): float(row["dsc"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{CASES} as minivess wrote it",
            f"a damaged one of {version} ({error})",
            "register the run again (minivess track sync RUN)",
        ) from error
