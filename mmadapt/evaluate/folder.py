"""The folder of an evaluation: begun once, continued with --resume, no answer overwritten."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmadapt.adapters.checkpoint import BASES
from mmadapt.data.quarantine import FILE as QUARANTINE
from mmadapt.differences import differences
from mmadapt.errors import AdapterError, MMAdaptError
from mmadapt.evaluate.journal import PATTERN, Journal
from mmadapt.files import prepare_output, write_json, write_jsonl
from mmadapt.recipe import Recipe
from mmadapt.versions import package_versions

SETTINGS, METRICS, PREDICTIONS = "evaluation.json", "metrics.json", "predictions.jsonl"
_NO_ANSWER = {  # what may change before --resume, since no answer depends on it
    "data": {"max_bad_share", "shuffle_buffer", "augment", "cache_gib"},
    "evaluate": {"batch_size", "num_examples"},
}


class EvaluationFolder:
    """Where an evaluation keeps what it is of, the answers as they come, and its results.

    Args:
        path: the folder.
        settings: everything that answers and scores depend on, see `evaluation_settings`.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings

    def open(self, resume: bool) -> dict[str, Any] | None:
        """Creates the folder, or enters that of an evaluation that was cut off.

        Args:
            resume: continue the evaluation that the folder holds.

        Returns:
            What a finished evaluation reported, predictions included; else None. One that gave no
            answer at all (its base models were missing, say) is begun anew.

        Raises:
            MMAdaptError: the folder holds another evaluation or a run, or one although `resume` is
                off; or it cannot be written to.
        """
        prepare_output(self.path)
        begun, finished = self.path / SETTINGS, self.path / METRICS
        if self._is_barely_begun():
            for name in (QUARANTINE, SETTINGS):  # it ended before it gave an answer
                (self.path / name).unlink(missing_ok=True)
        if not begun.exists():
            if finished.exists() or (self.path / "recipe.yaml").exists():
                raise MMAdaptError(f"{self.path} holds a run; choose another --output-dir")
            write_json(begun, self.settings)
            return None
        if not resume:
            raise MMAdaptError(
                f"{self.path} holds an evaluation already; continue it with --resume, or choose "
                "another --output-dir"
            )
        self._check_same(begun)
        return self._result() if finished.exists() else None

    def journal(self, rank: int) -> Journal:
        """The answers that were given so far, and the file for those to come."""
        text = json.dumps(self.settings, sort_keys=True, default=str)
        return Journal(self.path, hashlib.sha256(text.encode()).hexdigest()[:32], rank)

    def write(self, summary: dict[str, Any], predictions: list[dict[str, Any]]) -> None:
        """Writes the results; the journal is not needed any more."""
        write_jsonl(self.path / PREDICTIONS, predictions)
        write_json(self.path / METRICS, summary)  # last: it marks the evaluation as complete
        self.journal(0).remove()

    def _is_barely_begun(self) -> bool:
        """Whether all that the folder holds of an evaluation is what it was to be of."""
        if (self.path / METRICS).exists() or any(self.path.glob(PATTERN)):
            return False
        try:
            then = json.loads((self.path / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(then, dict) and {"adapter", "base_models", "split"} <= set(then)

    def _check_same(self, begun: Path) -> None:
        try:
            then = json.loads(begun.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MMAdaptError(
                f"{begun} is damaged, so it is unknown what was evaluated; choose another "
                "--output-dir"
            ) from error
        now = json.loads(json.dumps(self.settings, default=str))
        if changed := differences(then, now, "settings"):
            raise MMAdaptError(
                f"{self.path} holds another evaluation: {', '.join(changed[:5])} differ; resume "
                "with what it was started with, or choose another --output-dir"
            )

    def _result(self) -> dict[str, Any]:
        try:
            summary = json.loads((self.path / METRICS).read_text(encoding="utf-8"))
            lines = (self.path / PREDICTIONS).read_text(encoding="utf-8").split("\n")
            return summary | {"predictions": [json.loads(line) for line in lines if line]}
        except (OSError, ValueError) as error:
            raise MMAdaptError(
                f"{self.path} holds damaged results; choose another --output-dir"
            ) from error


def evaluation_settings(adapter: Path, recipe: Recipe, split: str) -> dict[str, Any]:
    """Everything that the numbers of an evaluation depend on.

    Args:
        adapter: its folder.
        recipe: with which it is evaluated.
        split: of the recipe's data.

    Raises:
        AdapterError: the adapter's record of its weights and base models is missing or damaged.
    """
    try:
        bases = json.loads((adapter / BASES).read_text(encoding="utf-8"))
        weights, models = bases["weights"], bases["models"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(
            f"{adapter / BASES} is missing or damaged, so the base models are unknown"
        ) from error
    plain = recipe.model_dump(mode="json")
    others = {"train", "validation", "test"} - {split}
    parts = {key: plain[key] for key in ("lm", "encoders", "fusion", "head")}
    for block, free in _NO_ANSWER.items():
        left_out = free | (others if block == "data" else set())
        parts[block] = {key: value for key, value in plain[block].items() if key not in left_out}
    text = json.dumps(models, sort_keys=True)
    return {
        "adapter": weights,
        "base_models": hashlib.sha256(text.encode()).hexdigest(),
        "split": split,
        "seed": recipe.seed,
        "versions": package_versions(),
        **parts,
    }
