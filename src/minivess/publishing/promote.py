"""Promote a registered model to champion if it is no worse than the present champion on the same cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from minivess.errors import MinivessError
from minivess.experiments.run_folder import RunFolder
from minivess.metrics.catalogue import METRICS
from minivess.metrics.older_scores import shared_metric
from minivess.models.ensemble import digest_of_model, load_model
from minivess.publishing.register import DATA_TAG, register_run
from minivess.publishing.scores import read_rows, scores_of
from minivess.statistics.resampling import PairedTest, paired_bootstrap_test
from minivess.tracking.client import TrackingError
from minivess.tracking.model_registry import WEIGHTS_TAG, ModelRegistry, Version

_REGISTER = "delete this version in MLflow, then register the run again (minivess track sync RUN)"


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
        metric: The metric that is compared, the first of ``evaluation.metrics`` of the run or what it replaces in
            older scores.
        candidate: Mean of the candidate over the shared cases; None without shared cases.
        champion: Mean of the former champion over the shared cases; None without shared cases.
        test: Test of the difference candidate - champion, paired by case.
        objections: Reasons against promotion; empty if there are none.
    """

    name: str
    version: int
    before: int | None = None
    metric: str = "dsc"
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
        bounds = f"[{interval.low:+.4f}, {interval.high:+.4f}]" if interval.known else f"({interval.method})"
        return (
            f"mean {self.metric} {self.candidate:.4f} against {self.champion:.4f} of version {self.before} on {test.n} shared cases: "
            f"difference {test.difference:+.4f} {bounds}, p = {test.p_value:.3g}"
        )


def promote_run(folder: RunFolder, uri: str, number: int | None = None, *, force: bool = False) -> Promotion:
    """Give the alias ``champion`` to a run's model.

    Its network must load. Out-of-fold scores are compared case by case, by the first metric of the run: the candidate's mean
    over the cases that both versions scored must not be worse than the champion's, and both must come from the same data. The
    paired test is only information and does not decide.

    Args:
        folder: The run. It is synced with MLflow and its model is registered first, if necessary.
        uri: Address of MLflow, from ``tracking_uri``.
        number: Another version of this registered model, e.g. an older one; None for the model of the run.
        force: Promote despite all objections.

    Returns:
        The comparison with the former champion.

    Raises:
        PromotionError: There are objections, there is no model to promote, or its network cannot be loaded.
        TrackingError: MLflow cannot be reached or does not have the version.
    """
    registered = register_run(folder, uri)
    if registered is None:
        raise PromotionError(
            "a loss that finished on every fold", f"no such loss in {folder.path}", "repeat the run: it continues"
        )
    registry, version = ModelRegistry(uri), registered.version
    candidate = version if number is None else registry.version(version.name, number)
    champion = registry.champion(candidate.name)
    found = _compare_with_champion(registry, candidate, champion, folder.read_config().leading_metric)
    if found.objections and not force:
        cure = "keep the champion, or promote anyway with --force"
        got = "; ".join(filter(None, [*found.objections, found.figures]))
        raise PromotionError(f"a model no worse than {champion} on the same cases", got, cure)
    _require_loadable(registry, candidate)
    registry.promote(candidate, champion)
    return found


def _require_loadable(registry: ModelRegistry, version: Version) -> None:
    """Require that the registered weights are those of the version and that its network can be built and loaded.

    Raises:
        PromotionError: They are damaged or missing, or the network cannot be built.
    """
    try:
        with TemporaryDirectory() as folder:
            model = next(registry.download(version, Path(folder)).glob("data/*"), None)
            if model is None:
                raise PromotionError(f"{version} with weights", "none", _REGISTER)
            if digest_of_model(model) != version.tags.get(WEIGHTS_TAG):
                raise PromotionError(f"the weights that {version} was registered with", "other weights", _REGISTER)
            load_model(model)
    except PromotionError:
        raise
    except OSError as error:
        raise PromotionError(f"{version} with weights", f"no file {error.filename}", _REGISTER) from error
    except MinivessError as error:
        raise PromotionError(f"a network of {version} that can be loaded", str(error), error.cure) from error


def _compare_with_champion(
    registry: ModelRegistry, candidate: Version, champion: Version | None, metric: str
) -> Promotion:
    if champion is None or champion.number == candidate.number:
        return Promotion(candidate.name, candidate.number, champion.number if champion else None, metric)
    objections = []
    if candidate.tags.get(DATA_TAG) != champion.tags.get(DATA_TAG):
        objections.append(f"a model of other data ({candidate.tags.get(DATA_TAG)}, not {champion.tags.get(DATA_TAG)})")
    try:
        rows = read_rows(registry, candidate), read_rows(registry, champion)
        metric = shared_metric(metric, [*rows[0], *rows[1]])
        ours, theirs = scores_of(rows[0], metric, candidate), scores_of(rows[1], metric, champion)
    except TrackingError as error:
        objections.append(f"scores that cannot be read ({error.got})")
        ours, theirs = {}, {}
    cases = sorted(ours.keys() & theirs.keys())
    a, b = [ours[case] for case in cases], [theirs[case] for case in cases]
    if not cases:
        objections.append("no case that both models were scored on")
        return Promotion(candidate.name, candidate.number, champion.number, metric, objections=tuple(objections))
    test = paired_bootstrap_test(a, b)
    higher = METRICS[metric].higher_is_better
    if test.difference < 0 if higher else test.difference > 0:
        objections.append(f"a {'lower' if higher else 'higher'} mean {metric}")
    return Promotion(
        candidate.name,
        candidate.number,
        champion.number,
        metric,
        fmean(a),
        fmean(b),
        test,
        objections=tuple(objections),
    )
