"""Numbers with as many digits as they deserve."""

from __future__ import annotations


def rounded(*values: float) -> tuple[str, ...]:
    """Numbers that are read together, with the decimals that suit the largest: 0.739, 12.3, 439."""
    largest = max((abs(value) for value in values if abs(value) < float("inf")), default=0.0)
    decimals = 3 if largest < 10 else 1 if largest < 100 else 0
    return tuple(f"{value:.{decimals}f}" for value in values)


def p_value(p: float) -> str:
    """Three decimals, or one digit of a smaller one."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"
