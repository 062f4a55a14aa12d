"""Comparisons: finished runs with one another, and recipes under the same budget."""

from mmadapt.compare.recipes import Plan, compare_recipes
from mmadapt.compare.runs import compare_runs
from mmadapt.evaluate.statistics import Difference, Interval, difference, interval

__all__ = [
    "Difference",
    "Interval",
    "Plan",
    "compare_recipes",
    "compare_runs",
    "difference",
    "interval",
]
