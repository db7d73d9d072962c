"""Whether a run kept its budgets of memory, which ends no cell but is a criterion of every run."""

from __future__ import annotations

from minivess.reporting.facts import RunFacts
from minivess.sizes import format_gib


def budget_sentence(facts: RunFacts) -> str:
    """One sentence on all cells that ran; empty before the first."""
    ran = [cell for cell in facts.cells if cell.peaks.rss_bytes]
    over = [f"{cell.name} ({', '.join(cell.broken_budgets)})" for cell in ran if cell.broken_budgets]
    if over:
        return f"Over budget: {len(over)} of {len(ran)} cells, {', '.join(over)}."
    budgets = [cell.limits.rss_budget_bytes for cell in ran if cell.limits.rss_budget_bytes]
    below = f", below {format_gib(min(budgets))} resident and without swap" if budgets else ""
    return f"Within budget: all {len(ran)} cells that ran{below}." if ran else ""
