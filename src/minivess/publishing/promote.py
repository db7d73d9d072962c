"""A registered model becomes the champion if it is no worse than the present one on the same cases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean

from minivess.errors import MinivessError
from minivess.experiments.run_folder import RunFolder
from minivess.publishing.register import CASES, DATA_TAG, register_run
from minivess.publishing.sync_run import tracking_uri
from minivess.statistics.resampling import PairedTest, paired_bootstrap_test
from minivess.tracking.mlflow import TrackingError
from minivess.tracking.model_registry import ModelRegistry, Version


class PromotionError(MinivessError):
    """The champion stays."""

    exit_code = 7


@dataclass(frozen=True)
class Promotion:
    """A candidate beside the champion before it.

    Attributes:
        name: The registered model.
        version: The candidate.
        before: The version that was champion; None where none was.
        candidate: Mean dsc over the shared cases; None without any.
        champion: That of the version before.
        test: Of candidate - champion, paired by case.
        objections: Why it would not be promoted; empty where nothing speaks against it.
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
        """The comparison in one line, "" where there was none."""
        if self.test is None:
            return ""
        test, interval = self.test, self.test.interval
        bounds = f"[{interval.low:+.4f}, {interval.high:+.4f}]" if interval.resamples else f"({interval.method})"
        return (
            f"mean dsc {self.candidate:.4f} against {self.champion:.4f} of version {self.before} on {test.n} shared cases: "
            f"difference {test.difference:+.4f} {bounds}, p = {test.p_value:.3g}"
        )


def promote_run(folder: RunFolder, number: int | None = None, *, force: bool = False) -> Promotion:
    """Give alias ``champion`` to a run's model.

    Out-of-fold dsc is compared case by case: the candidate's mean over the cases that both versions scored must be at least the
    champion's, and both must come of the same data. The test beside it is for information; no worse is all that is asked.

    Args:
        folder: The run; it is synced and its model registered, should that not have been done.
        number: Another version of the same registered model, an older one for instance.
        force: Promote against all objections.

    Raises:
        PromotionError: There are objections, or nothing to promote.
        TrackingError: MLflow cannot be reached, is switched off, or lacks the version.
    """
    registered = register_run(folder)
    uri = tracking_uri(folder)
    if registered is None or uri is None:
        raise PromotionError(
            "a loss that finished on every fold", f"none in {folder.path}", "repeat the run: it continues"
        )
    registry = ModelRegistry(uri)
    candidate = registered[0] if number is None else registry.version(registered[0].name, number)
    champion = registry.champion(candidate.name)
    found = _weigh(registry, candidate, champion)
    if found.objections and not force:
        cure = "keep the champion, or promote all the same with --force"
        got = "; ".join(filter(None, [*found.objections, found.figures]))
        raise PromotionError(f"a model no worse than {champion} on the same cases", got, cure)
    registry.promote(candidate, champion)
    return found


def _weigh(registry: ModelRegistry, candidate: Version, champion: Version | None) -> Promotion:
    if champion is None or champion.number == candidate.number:
        return Promotion(candidate.name, candidate.number, champion.number if champion else None)
    objections = []
    if candidate.tags.get(DATA_TAG) != champion.tags.get(DATA_TAG):
        objections.append(f"one of other data ({candidate.tags.get(DATA_TAG)}, not {champion.tags.get(DATA_TAG)})")
    try:
        ours, theirs = _scores(registry, candidate), _scores(registry, champion)
    except TrackingError as error:
        objections.append(f"scores that cannot be read ({error.got})")
        ours, theirs = {}, {}
    cases = sorted(ours.keys() & theirs.keys())
    a, b = [ours[case] for case in cases], [theirs[case] for case in cases]
    if not cases:
        objections.append("no case that both were scored on")
        return Promotion(candidate.name, candidate.number, champion.number, objections=tuple(objections))
    test = paired_bootstrap_test(a, b)
    if test.difference < 0:
        objections.append("a lower mean")
    return Promotion(
        candidate.name, candidate.number, champion.number, fmean(a), fmean(b), test, objections=tuple(objections)
    )


def _scores(registry: ModelRegistry, version: Version) -> dict[str, float]:
    """The dsc of each held-out case."""
    return {row["case"]: row["dsc"] for row in json.loads(registry.read_evidence(version, CASES))}
