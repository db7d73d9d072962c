"""Whether a run kept its budgets of memory, which ends no cell but is a criterion of every run."""

from __future__ import annotations

from minivess.data.wording import counted
from minivess.reporting.facts import RunFacts
from minivess.sizes import format_gib


def budget_sentence(facts: RunFacts) -> str:
    """One sentence on all cells that ran with a budget; empty where none did, as in runs of older versions."""
    ran = {cell.name: cell for cell in facts.cells if cell.limits.rss_budget_bytes and cell.peaks.rss_bytes}
    over = [f"{name} ({', '.join(broken)})" for name, cell in ran.items() if (broken := cell.broken_budgets)]
    if over:
        return f"Over budget: {len(over)} of {counted(len(ran), 'cell')}, {', '.join(over)}."
    if not ran:
        return ""
    least = min(cell.limits.rss_budget_bytes or 0 for cell in ran.values())
    return f"Within budget: {counted(len(ran), 'cell')}, below {format_gib(least)} resident and without swap."
