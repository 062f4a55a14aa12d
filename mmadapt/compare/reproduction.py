"""Repeats a finished run and says how far the second is from the first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmadapt.adapters.checkpoint import BASES, WEIGHTS, read_tensors
from mmadapt.errors import MMAdaptError
from mmadapt.recipe import load_recipe, resolve
from mmadapt.train import train
from mmadapt.train.folder import revisions_of_run

ROWS = ("metrics", "blind", "blind_swapped", "blind_trained")


@dataclass(frozen=True)
class Reproduction:
    """Two runs of one recipe, side by side.

    Args:
        folder: of the second run.
        largest_difference: between the two adapters' weights, absolute.
        scores: by row and metric, of the first and of the second run, where they differ.
        versions: of packages that differ, then and now.
        models: base models whose weights differ.
        revisions: commits of hub models and datasets that differ, then and now, by recipe key.
    """

    folder: str
    largest_difference: float
    scores: dict[str, tuple[float, float]]
    versions: dict[str, tuple[str | None, str | None]]
    models: list[str]
    revisions: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """Whether weights and scores are the same bits."""
        return self.largest_difference == 0 and not self.scores

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self) | {"is_exact": self.is_exact}

    def __str__(self) -> str:
        lines = [
            f"adapter: largest difference of a weight {self.largest_difference:.3g}",
            "scores: all the same" if not self.scores else "scores (then, now):",
        ]
        lines += [f"  {key}: {then:.6g}, {now:.6g}" for key, (then, now) in self.scores.items()]
        lines += [
            f"version of {name}: {then or 'none'} then, {now or 'none'} now"
            for name, (then, now) in self.versions.items()
        ]
        lines += [
            f"{key}: {then or 'not pinned'} then, {now or 'not pinned'} now"
            for key, (then, now) in self.revisions.items()
        ]
        lines += [f"base model {name}: its weights are others now" for name in self.models]
        return "\n".join([*lines, "exact" if self.is_exact else "not exact"])


def reproduce(
    run: str | Path,
    output_dir: str | Path | None = None,
    *,
    allow_code: bool = False,
    quiet: bool = False,
) -> Reproduction:
    """Trains the recipe of a run folder again and compares scores and weights.

    Args:
        run: a finished run folder.
        output_dir: of the second run; default: beside the first, `NAME-reproduced`.
        allow_code: as in `train`.
        quiet: no progress bars.

    Raises:
        MMAdaptError: the folder holds no finished run, or the second one fails.
    """
    first = Path(run)
    second = Path(output_dir) if output_dir else first.with_name(f"{first.name}-reproduced")
    then = _report(first)
    resolved = resolve(load_recipe(first / "recipe.yaml"), allow_code=allow_code)
    train(resolved, second, allow_code=allow_code, quiet=quiet)
    now = _report(second)
    one, other = (read_tensors(folder / "adapter" / WEIGHTS) for folder in (first, second))
    if {k: v.shape for k, v in one.items()} != {k: v.shape for k, v in other.items()}:
        raise MMAdaptError(f"the adapters of {first} and {second} hold different tensors")
    return Reproduction(
        str(second),
        max((float((one[k].double() - other[k].double()).abs().max()) for k in one), default=0.0),
        _different(_scores(then), _scores(now)),
        _different(_versions(then), _versions(now)),
        sorted(_different(_models(first), _models(second))),
        _different(revisions_of_run(first), revisions_of_run(second)),
    )


def _report(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if not folder.is_dir():
            raise MMAdaptError(f"there is no folder {folder}; name that of a run") from error
        raise MMAdaptError(
            f"{folder} holds no finished run to repeat: its metrics.json is missing or damaged"
        ) from error


def _scores(report: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{row}.{name}": value for row in ROWS for name, value in (report.get(row) or {}).items()
    }


def _versions(report: Mapping[str, Any]) -> dict[str, str]:
    return (report.get("settings") or {}).get("versions") or {}


def _models(folder: Path) -> dict[str, Any]:
    bases = json.loads((folder / "adapter" / BASES).read_text(encoding="utf-8"))
    return bases["models"]


def _different(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (then.get(key), now.get(key))
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    }
