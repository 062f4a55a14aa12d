"""Compares finished runs on the samples that they all scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from mmadapt.errors import DataError, MMAdaptError
from mmadapt.evaluate.statistics import Difference, Interval, difference, interval


@dataclass(frozen=True)
class Run:
    """A finished run: its name, what it reported, and scores by metric and sample."""

    name: str
    report: dict[str, Any]
    scores: dict[str, dict[str, float]]
    references: dict[str, list[str]]


@dataclass(frozen=True)
class RunComparison:
    """Intervals by metric and run, differences by metric and pair of runs.

    Args:
        samples: how many samples all runs scored.
        left_out: how many samples only some of them scored.
        intervals: of the mean per-sample score.
        differences: of the second run of a pair from the first.
    """

    samples: int
    left_out: int
    intervals: dict[str, dict[str, Interval]]
    differences: dict[str, dict[tuple[str, str], Difference]]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "samples": self.samples,
            "left_out": self.left_out,
            "intervals": {
                metric: {run: asdict(found) for run, found in runs.items()}
                for metric, runs in self.intervals.items()
            },
            "differences": [
                {
                    "metric": metric,
                    "first": first,
                    "second": second,
                    **asdict(found),
                    "is_more_than_noise": found.is_more_than_noise,
                }
                for metric, pairs in self.differences.items()
                for (first, second), found in pairs.items()
            ],
        }

    def __str__(self) -> str:
        lines = [f"{self.samples} samples that all runs scored; {self.left_out} left out"]
        for metric, runs in self.intervals.items():
            lines.append(f"\n{metric} (mean of per-sample scores, 95 % bootstrap interval)")
            width = max(map(len, runs))
            for name, found in runs.items():
                lines.append(
                    f"  {name:<{width}}  {found.mean:.3f}  [{found.low:.3f}, {found.high:.3f}]"
                )
            for (first, second), gap in self.differences[metric].items():
                verdict = "more than noise" if gap.is_more_than_noise else "not more than noise"
                lines.append(
                    f"  {second} - {first}: {gap.mean:+.3f}  [{gap.low:+.3f}, {gap.high:+.3f}]  "
                    f"{verdict}"
                )
        return "\n".join(lines)


def compare_runs(folders: Sequence[str | Path]) -> RunComparison:
    """Says whether runs differ by more than noise, metric by metric.

    Per-sample scores are compared; where a metric is no mean of those (BLEU over a corpus), their
    mean is not the value that the run reported.

    Args:
        folders: run folders, two or more, with at least one metric and sample in common.

    Raises:
        MMAdaptError: fewer than two, one that holds no finished run, or runs of other samples.
    """
    if len(folders) < 2:
        raise MMAdaptError("compare needs two runs or more")
    runs = _named([read_run(folder) for folder in folders], list(map(str, folders)))
    metrics = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
    if not metrics:
        raise MMAdaptError(
            "the runs have no metric in common: "
            + "; ".join(f"{run.name} has {', '.join(run.scores) or 'none'}" for run in runs)
        )
    sets = [set(run.scores[metrics[0]]) for run in runs]
    common = sorted(set.intersection(*sets))
    if not common:
        raise MMAdaptError("the runs scored no sample in common; compare runs on one test split")
    for run in runs[1:]:
        other = [key for key in common if run.references[key] != runs[0].references[key]]
        if other:
            raise MMAdaptError(
                f"{runs[0].name} and {run.name} scored other samples: the references of "
                f"'{other[0]}' are {runs[0].references[other[0]]} in one and "
                f"{run.references[other[0]]} in the other"
            )
    for metric in metrics:
        _check_computed_alike(metric, runs)
    intervals: dict[str, dict[str, Interval]] = {}
    differences: dict[str, dict[tuple[str, str], Difference]] = {}
    for metric in metrics:
        scores = {run.name: [[run.scores[metric][key] for key in common]] for run in runs}
        intervals[metric] = {name: interval(values) for name, values in scores.items()}
        differences[metric] = {
            (one, other): difference(scores[one], scores[other])
            for one, other in combinations(scores, 2)
        }
    return RunComparison(len(common), len(set.union(*sets)) - len(common), intervals, differences)


_FOUND = {  # what differs between runs scored alike: how many samples, and what was found in them
    "samples",
    "interval",
    "per_sample_mean",
    "document_frequencies",
    "note",
    "classes",
    "people",
    "samples_by_column",
    "java",  # METEOR counts the same under any
}


def _check_computed_alike(metric: str, runs: Sequence[Run]) -> None:
    """Refuses scores of one name that were computed in two ways: version, tokenizer, normaliser."""
    used = [((run.report.get("settings") or {}).get("metrics") or {}).get(metric) for run in runs]
    for run, other in zip(runs[1:], used[1:], strict=True):
        first = used[0]
        if not isinstance(first, dict) or not isinstance(other, dict):
            continue  # not recorded
        keys = sorted((set(first) | set(other)) - _FOUND)
        if changed := [key for key in keys if first.get(key) != other.get(key)]:
            raise MMAdaptError(
                f"{runs[0].name} and {run.name} computed {metric} in different ways: "
                f"{', '.join(changed)} differ; score both anew with mmadapt evaluate"
            )


def read_run(folder: str | Path) -> Run:
    """Reads `metrics.json` and `predictions.jsonl` of a run folder.

    Raises:
        MMAdaptError: it holds no finished run, or one without scores.
        DataError: a line of the predictions is damaged.
    """
    path = Path(folder)
    try:
        report = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MMAdaptError(
            f"{path} holds no finished run: its metrics.json is missing or damaged; "
            "`mmadapt train` writes it"
        ) from error
    file = path / "predictions.jsonl"
    if not file.is_file():
        raise MMAdaptError(f"{path} has no predictions.jsonl: its recipe named no metric or split")
    scores: dict[str, dict[str, float]] = {}
    references: dict[str, list[str]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
            repeated = record["id"] in references
            for metric, score in record["scores"].items():
                scores.setdefault(metric, {})[record["id"]] = float(score)
            references[record["id"]] = record.get("references") or []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(file, number, "is no prediction with `id` and `scores`") from error
        if repeated:
            reason = f"has the id '{record['id']}' of an earlier line, so samples cannot be paired"
            raise DataError(file, number, reason)
    return Run(str(report.get("name", path.name)), report, scores, references)


def _named(runs: list[Run], folders: list[str]) -> list[Run]:
    """Runs whose names differ: where recipes' names do not, the folders stand in their place."""
    names = [run.name for run in runs]
    names = [
        name if names.count(name) == 1 else folder
        for name, folder in zip(names, folders, strict=True)
    ]
    return [
        replace(run, name=f"{name} ({names[: place + 1].count(name)})")
        if names.count(name) > 1  # one folder, given twice
        else replace(run, name=name)
        for place, (run, name) in enumerate(zip(runs, names, strict=True))
    ]
