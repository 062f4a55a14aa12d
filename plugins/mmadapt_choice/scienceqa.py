"""ScienceQA's accuracy by subject, context and grade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Metric, MetricResult
from mmadapt.errors import DataError
from mmadapt.types import Sample

COLUMNS = ("NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")
_SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}
_GRADES = {f"grade{number}": "G1-6" if number <= 6 else "G7-12" for number in range(1, 13)}


class ScienceqaConfig(BaseModel):
    """ScienceQA's accuracy takes no options."""

    model_config = ConfigDict(extra="forbid")


class Scienceqa(Metric):
    """Accuracy on ScienceQA (Lu et al. 2022, table 3), 0 to 1: overall and by column.

    The columns are NAT, SOC, LAN (subject), TXT (the hint holds text), IMG (there is an image), NO
    (neither), G1-6 and G7-12 (grade), read from `subject`, `hint`, `has_image` and `grade` of the
    sample's `meta`; a column without samples is left out. Papers print 100 times the values.
    """

    Config = ScienceqaConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.hits: list[float] = []
        self.columns: list[list[str]] = []

    def update(self, sample: Sample, answer: str) -> None:
        """Adds one answer.

        Raises:
            DataError: the sample does not tell what is right.
        """
        right = sample.get("answers") or sample.get("references")
        if not right:
            raise DataError("metric", sample["id"], "has no answer to compare with")
        self.hits.append(float(answer.strip() == right[0].strip()))
        self.columns.append(columns(sample.get("meta") or {}))

    def compute(self) -> MetricResult:
        """Returns `scienceqa_NAT` and so on, then `scienceqa`."""
        if not self.hits:
            raise DataError("metric", None, "there is no answer to score")
        values: dict[str, float] = {}
        for column in COLUMNS:
            pairs = zip(self.hits, self.columns, strict=True)
            own = [hit for hit, names in pairs if column in names]
            if own:
                values[f"scienceqa_{column}"] = sum(own) / len(own)
        values["scienceqa"] = sum(self.hits) / len(self.hits)  # last: it stands for the metric
        settings = self.described(normaliser="none: the text of the option that was chosen")
        settings["samples_by_column"] = {
            column: sum(column in names for names in self.columns)
            for column in COLUMNS
            if f"scienceqa_{column}" in values
        }
        return MetricResult(values, list(self.hits), settings)


def columns(meta: Mapping[str, Any]) -> list[str]:
    """The columns that a problem counts in.

    Example:
        >>> columns({"subject": "natural science", "hint": "", "grade": "grade7"})
        ['NAT', 'G7-12', 'NO']
    """
    has_text, has_image = bool(meta.get("hint")), bool(meta.get("has_image"))
    found = [_SUBJECTS.get(str(meta.get("subject"))), _GRADES.get(str(meta.get("grade")))]
    found += ["TXT" if has_text else None, "IMG" if has_image else None]
    found.append(None if has_text or has_image else "NO")
    return [column for column in found if column is not None]
