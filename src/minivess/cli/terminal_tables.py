"""Tables for a terminal; scripts use --json instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from minivess.findings import Finding, grouped
from minivess.text import GIB, counted, format_bytes, format_patch, format_shape

if TYPE_CHECKING:  # the comparison imports scipy, which takes seconds
    from minivess.data.profiler import DatasetProfile
    from minivess.experiments.config import ExperimentConfig
    from minivess.experiments.dry_run import DryRun
    from minivess.experiments.prepare import Prepared
    from minivess.experiments.run_folder import RunFolder
    from minivess.experiments.unseen_scores import UnseenScores
    from minivess.planning.memory.vram_sweep import SweepRow
    from minivess.planning.plan import TrainingPlan
    from minivess.planning.preflight import PreflightResult
    from minivess.statistics.compare_methods import Comparison

console = Console()

_LONG_S = 2 * 24 * 3600
_STYLE = {"critical": "bold red", "warning": "yellow", "info": "green"}
_MARK = {"critical": "x", "warning": "!", "info": "-"}


def show_profile(profile: DatasetProfile) -> None:
    """Print the volumes, how much of each is labelled, their labels, the data set as a whole, and the findings."""
    if profile.volumes:
        _show_volumes(profile)
        _show_known(profile)
        _show_labels(profile)
        _show_summary(profile)
    show_findings(profile.findings)


def _show_volumes(profile: DatasetProfile) -> None:
    full = any(volume.intensity_mean is not None for volume in profile.volumes)
    table = _table(
        "volume", "shape", "spacing (µm)", "anisotropy", "type", *(("intensity 0.5 - 99.5 %", "vessel") if full else ())
    )
    for volume in profile.volumes:
        row = [
            escape(volume.name),
            format_shape(volume.shape),
            format_shape(volume.spacing_um),
            f"{volume.anisotropy:.1f}",
            volume.dtype,
        ]
        if volume.intensity_low is not None and volume.intensity_high is not None:
            row.append(f"{volume.intensity_low:g} - {volume.intensity_high:g}")
            row.append("" if volume.foreground_fraction is None else f"{100 * volume.foreground_fraction:.1f} %")
        table.add_row(*row)
    console.print(table)


def _show_known(profile: DatasetProfile) -> None:
    """Print how much of each volume is labelled; nothing if no value means unknown."""
    table = _table("label", "labelled voxels", "slices with labelled voxels")
    for volume in profile.volumes:
        if volume.known_voxels is not None:
            slices = f"{volume.labelled_slices} of {volume.shape[2]}"
            table.add_row(escape(volume.name), f"{100 * volume.known_fraction:.1f} %", slices)
    if table.row_count:
        console.print(table)


def _show_labels(profile: DatasetProfile) -> None:
    """Print the topology and the artefacts of each label; nothing if no label was measured."""
    table = _table(
        "label", "pieces", "small", "no skeleton", "tunnels", "pinholes", "bridges", "cavities", "jumps (µm)"
    )
    for volume in profile.volumes:
        found = volume.label_artefacts
        if found is None:
            continue
        counts = found.pieces, found.small_pieces, found.lost_pieces, found.tunnels, found.pinholes, found.bridges
        table.add_row(escape(volume.name), *map(str, (*counts, found.cavities)), found.jumps)
    if table.row_count:
        console.print(table)


def _show_summary(profile: DatasetProfile) -> None:
    from minivess.data.profiler import compute_safe_patch_sizes

    facts = _table("data set", "")
    facts.add_row("volumes", str(len(profile.volumes)))
    for word, shape in (
        ("smallest", profile.min_shape),
        ("median", profile.median_shape),
        ("largest", profile.max_shape),
    ):
        facts.add_row(f"{word} size per axis", format_shape(shape))
    facts.add_row(
        "median spacing (µm)", f"{format_shape(profile.median_spacing_um)}, anisotropy {profile.anisotropy:.1f}"
    )
    facts.add_row(
        "spacings (µm)",
        "\n".join(f"{format_shape(spacing)} in {count}" for spacing, count in profile.spacings_um.items()),
    )
    facts.add_row("stored", format_bytes(profile.stored_bytes))
    cached, float32 = format_bytes(profile.cached_bytes), format_bytes(profile.float32_bytes)
    facts.add_row("decompressed", f"{cached} as minivess stores it, {float32} as float32")
    if profile.spacing_differs:
        resampled = profile.resampled_bytes(profile.median_spacing_um)
        largest = max(resampled, key=lambda name: resampled[name])
        alone = f"{escape(largest)} alone {format_bytes(resampled[largest])}"
        facts.add_row(
            "if resampled",
            f"{format_bytes(sum(resampled.values()))} at the median spacing, {alone}; minivess does not resample",
        )
    if profile.foreground_fraction is not None:
        of = "all voxels" if profile.known_fraction is None else "the labelled voxels"
        facts.add_row("vessel", f"{100 * profile.foreground_fraction:.1f} % of {of}")
    if profile.known_fraction is not None:
        facts.add_row(
            "labelled", f"{100 * profile.known_fraction:.1f} % of all voxels; {profile.ignore_value} is unknown"
        )
    for family, patch in compute_safe_patch_sizes(profile).items():
        deeper = any(size > whole for size, whole in zip(patch, profile.min_shape, strict=True))
        facts.add_row(
            f"largest patch, {family}", format_shape(patch) + (", smaller volumes are padded" if deeper else "")
        )
    if profile.content_hash:
        facts.add_row("content hash", profile.content_hash)
    console.print(facts)


def show_preflight(result: PreflightResult, *, only_findings: bool = False) -> None:
    """Print the result of every check; with ``only_findings`` only warnings and critical findings."""
    found = result.all_findings
    show_findings([finding for finding in found if finding.level != "info"] if only_findings else found)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print a paragraph per finding, or per group of equal findings: what was found, what was expected, the cure."""
    for finding in grouped(findings):
        mark = f"[{_STYLE[finding.level]}]{_MARK[finding.level]} {finding.check}[/]"
        expected = f" (expected {finding.expected})" if finding.expected else ""
        console.print(f"{mark} {escape(f'{finding.what}: {finding.got}{expected}')}", highlight=False)
        if finding.cure:
            console.print(f"    {escape(finding.cure)}", style="dim", highlight=False)


def show_plan(plan: TrainingPlan) -> None:
    """Print the plan, each number with its reason."""
    table = _table("plan", plan.profile_name)
    for field, reason in plan.reasons.items():
        if field != "profile_name":
            table.add_row(field.replace("_", " "), reason)
    strides = ", ".join(format_patch(stride) for stride in plan.network.strides)
    table.add_row(
        "network", f"{plan.network.model}, filters {', '.join(map(str, plan.network.filters))}, strides {strides}"
    )
    console.print(table)


def show_vram(rows: Sequence[SweepRow], title: str) -> None:
    """Print predicted and measured GPU memory in GiB, one row per patch size."""
    console.print(title, style="bold", highlight=False)
    table = _table("patch", "predicted", "reserved", "allocated", "s per step", "")
    for row in rows:
        cells = ["" if row.predicted_bytes is None else _gib(row.predicted_bytes), "", "", ""]
        if row.use is not None:
            cells[1:] = _gib(row.use.reserved_bytes), _gib(row.use.allocated_bytes), f"{row.use.step_seconds:.3f}"
        table.add_row(format_patch(row.patch), *cells, row.note)
    console.print(table)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.2f} GiB"


def show_config(config: ExperimentConfig) -> None:
    """Print every key with its value, as YAML."""
    from minivess.experiments.config_file import as_yaml

    console.print("configuration", style="bold")
    console.print(as_yaml(config), highlight=False, markup=False, soft_wrap=True)


def show_outline(planned: DryRun) -> None:
    """Print what a run would train, how long it would take, and its run folder."""
    from minivess.text import format_duration

    prepared = planned.prepared
    timed = planned.seconds is not None or any(cell.finished or cell.stopped for cell in planned.cells)
    table = _table("cell", "trained on", "held out", "about" if timed else "")
    for cell in planned.cells:
        state = "finished" if cell.finished else "stopped by the race" if cell.stopped else ""
        taken = format_duration(cell.seconds) if cell.seconds is not None else state
        table.add_row(cell.name, counted(len(cell.train), "case"), ", ".join(cell.held_out), taken)
    console.print(table)
    remain = " for the cells that remain" if any(cell.finished for cell in planned.cells) else " in total"
    total = f", about {format_duration(planned.seconds)}{remain}" if planned.seconds is not None else ""
    if planned.untimed and planned.seconds is not None:
        total += f" and the time of {', '.join(planned.untimed)}, which is measured in the dry start"
    for line in _design_lines(prepared):
        console.print(line, highlight=False, markup=False)
    if len(prepared.slots) > 1:
        total += f", {len(prepared.slots)} cells at a time"
    _show_power(planned)
    steps = prepared.config.training.steps
    console.print(
        f"{steps} optimizer steps per cell{total}; nothing was written. The run folder would be {prepared.folder.path}"
    )
    if race := planned.race:
        shares = " and ".join(f"{share:.0%}" for share in race["at"])
        console.print(
            f"Race: at {shares} of the steps the losses are compared and beaten ones are stopped. {race['reference']} never "
            f"is, and at least {race['keep']} go on: at best {race['least_steps']:.0%} of the steps are trained.",
            highlight=False,
        )
    if (planned.seconds or 0) > _LONG_S:
        console.print(
            "That is more than two days. --debug runs a short trial in minutes; a lower training.max_epochs or a smaller "
            "network (model.filters) takes less time."
        )


def _design_lines(prepared: Prepared) -> Iterator[str]:
    """Yield lines about the groups and the test set of a run."""
    if prepared.splits.groups:
        used = {prepared.splits.groups[volume.name] for volume in prepared.profile.volumes}
        yield f"{counted(len(used), 'group')} in the folds; none is split"
    if prepared.test:
        names = ", ".join(volume.name for volume in prepared.test)
        yield f"Test set, scored at the end with the registered network: {names}"


def _show_power(planned: DryRun) -> None:
    """Print what is fixed by the comparison, and what it can show; nothing without one."""
    from minivess.metrics.catalogue import METRICS
    from minivess.statistics.decision_text import describe_rule, power_sentences

    rule, power = planned.prepared.config.comparison, planned.power
    if rule is None:
        return
    metric = METRICS[rule.primary]
    console.print(f"\nFixed by this configuration: {describe_rule(rule, metric.title, metric.unit)}.", markup=False)
    for sentence in power_sentences(power, metric.title, metric.unit) if power else ():
        console.print(sentence, highlight=False, markup=False)
    console.print()


def show_comparison(comparison: Comparison) -> None:
    """Print mean and interval of each loss in each metric, the tests against the best loss, and the verdict.

    The tests of all other pairs are in the report and in the Markdown table.
    """
    from minivess.reporting.headline import headline
    from minivess.reporting.tables import column_title, topology_note

    # If mean and interval do not fit on one line, the interval goes below its mean.
    between = " " if console.width >= 20 + 22 * len(comparison.metrics) else "\n"
    methods = (*comparison.losses, *comparison.baselines)
    columns = []
    for metric in comparison.metrics:
        cells = []
        for method in methods:
            text = escape(str(metric.score(method).interval).replace(" ", between, 1))
            cells.append(f"[bold]{text}[/]" if metric.best == method else text)
        columns.append((column_title(metric), cells))
    names = [f"{method}\n[dim]{mark}[/]" if (mark := comparison.mark(method)) else method for method in methods]
    _show_columns(f"mean, {comparison.level:.0%} interval", names, columns)
    if note := topology_note(comparison):
        console.print(note, style="dim", highlight=False)
    _show_tests(comparison)
    verdict = headline(comparison)
    console.print(f"\n[bold]{escape(verdict.title)}.[/] {escape(verdict.lead)}", highlight=False)
    for sentence in dict.fromkeys((*verdict.shown, *verdict.not_shown, *comparison.notes)):
        console.print(f"- {sentence}", highlight=False, markup=False)


def show_unseen(scores: UnseenScores | None, metrics: Sequence[str]) -> None:
    """Print the scores of the test set and whose network they describe; nothing if it was not scored.

    Args:
        scores: The scores.
        metrics: Keys of the metrics to print.
    """
    if scores is None:
        return
    from minivess.experiments.unseen_scores import earlier_note
    from minivess.metrics.catalogue import METRICS

    groups = len({row.group or row.case for row in scores.rows})
    over = counted(len(scores.rows), "case") + (f" in {counted(groups, 'group')}" if groups < len(scores.rows) else "")
    found = "; ".join(f"{METRICS[name].heading} {scores.interval(name)}" for name in metrics)
    console.print(f"\n[bold]Test set[/] ({over}, {escape(scores.place)}): {escape(found)}", highlight=False)
    if scores.earlier:
        console.print(f"- {earlier_note(scores)}", highlight=False, markup=False)


def show_false_claims(comparison: Comparison) -> None:
    """Print the risk of claiming the best mean in each metric, by a published formula."""
    from minivess.statistics.false_claims import false_claim_sentence

    for metric in comparison.metrics:
        if metric.false_claim:
            console.print(f"- {false_claim_sentence(metric.false_claim, metric.title)}", highlight=False, markup=False)


def show_unfinished(folder: RunFolder, command: str) -> None:
    """Print how many cells of a run are finished, and which command continues it; print nothing if all are finished.

    Args:
        folder: The run.
        command: The command that continues it, in words.
    """
    from minivess.experiments.cell_selection import count_finished

    done, total = count_finished(folder)
    if done < total:
        console.print(
            f"{done} of {total} cells of {folder.path} are finished; {command} continues the run.",
            highlight=False,
            markup=False,
        )


def _show_tests(comparison: Comparison) -> None:
    """Print the test of every loss against the one with the best mean, per metric; nothing if no pair was tested."""
    from minivess.text import format_p_value

    if not any(metric.pairs for metric in comparison.metrics):
        return
    columns = []
    for metric in comparison.metrics:
        cells = []
        for method in comparison.losses:
            pair = metric.against_best(method)
            best = "[bold]best[/]" if metric.best == method else ""
            cells.append(f"{format_p_value(pair.p_holm)}, {pair.test.effect_size:+.2f}" if pair else best)
        columns.append((metric.title, cells))
    console.print()
    _show_columns("p, effect size", comparison.losses, columns)
    console.print(
        "Each loss against the best: Holm-corrected p; effect size from -1 (smaller on every case) to 1 (larger on every case).",
        style="dim",
        highlight=False,
    )


def _show_columns(title: str, names: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print columns next to the names; columns that do not fit the width go into a further table below, with the names again.

    Args:
        title: Heading of the column of names.
        names: One name per row.
        columns: Heading and cells of each column, one cell per name.
    """
    while columns:
        fitting = len(columns)
        while fitting > 1 and _minimum_width(_columns_table(title, names, columns[:fitting])) > console.width:
            fitting -= 1
        console.print(_columns_table(title, names, columns[:fitting]))
        columns = columns[fitting:]


def _columns_table(title: str, names: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]]) -> Table:
    table = _table(title, *(heading for heading, _ in columns))
    for column, texts in zip(table.columns, (names, *([heading, *cells] for heading, cells in columns)), strict=True):
        column.min_width = max(console.measure(text).maximum for text in texts)
        column.no_wrap = column is not table.columns[0]
    for row in zip(names, *(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    return table


def _minimum_width(table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=10_000)).minimum


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    return table
