"""Benchmarks: what a fusion costs beside the frozen LM alone, measured in one run."""

from mmadapt.bench.growth import growth, growth_table
from mmadapt.bench.rows import Result, table
from mmadapt.bench.run import Options, bench
from mmadapt.bench.workload import Workload

__all__ = ["Options", "Result", "Workload", "bench", "growth", "growth_table", "table"]
