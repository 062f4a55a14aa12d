"""What a generated text is scored against."""

from __future__ import annotations

from mmadapt.errors import DataError
from mmadapt.types import Sample


def references_of(sample: Sample) -> list[str]:
    """The texts to score against: references, else answers, else the target.

    Raises:
        DataError: the sample has neither.
    """
    target = sample.get("target")
    given = sample.get("references") or sample.get("answers")
    references = given or ([target] if target else [])
    if not references:
        raise DataError("metric", sample["id"], "has no reference to score against")
    return list(references)
