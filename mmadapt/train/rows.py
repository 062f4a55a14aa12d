"""The scores of a run: with media, and blind in three ways."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from mmadapt.evaluate.adapter import chosen_split, metric_builders
from mmadapt.evaluate.evaluation import EvaluationResult, Media, evaluate
from mmadapt.train.arguments import training_arguments
from mmadapt.train.session import Session
from mmadapt.train.trainer import AdapterTrainer

BLIND_SHARE = 0.25  # of the training steps go to the adapter trained without media
_ALONE: dict[str, Any] = {  # nothing of the blind training is kept, scored on the way, or told
    "save_strategy": "no",
    "eval_strategy": "no",
    "eval_on_start": False,
    "report_to": "none",
}


@dataclass(frozen=True)
class Rows:
    """Scores by row, the result of the row with media, and how all were computed."""

    scores: dict[str, dict[str, float]]
    main: EvaluationResult
    settings: dict[str, Any]


def score_rows(session: Session, max_steps: int) -> Rows | None:
    """Scores the test split, else the validation split, and the blind rows that are asked for.

    Args:
        session: with the trained model.
        max_steps: how long it was trained.

    Returns:
        The rows, or None where the recipe names no split or no metric to score.
    """
    if not session.resolved.metrics or not {"test", "validation"} & set(session.sources):
        return None
    blind = session.recipe.evaluate.blind
    split = chosen_split(session.resolved, None)
    with session.timed("evaluate"):
        main = _row(session, split, "as_is", f"evaluate {split}")
        results = {"metrics": main}
        if "removed" in blind:
            results["blind"] = _row(session, split, "removed", "media removed")
        if "swapped" in blind:
            results["blind_swapped"] = _row(session, split, "swapped", "media swapped")
    settings: dict[str, Any] = {"split": split, **main.settings}
    if "trained" in blind:
        steps = max(1, round(max_steps * BLIND_SHARE))
        with session.timed("blind training"):
            results["blind_trained"] = _trained_blind(session, split, steps)
        settings["blind_trained"] = {"media": "zeros", "steps": steps}
    return Rows({key: result.metrics for key, result in results.items()}, main, settings)


def _row(session: Session, split: str, media: Media, description: str) -> EvaluationResult:
    options, source = session.recipe.evaluate, session.sources[split]
    return evaluate(
        session.model,
        source,
        metric_builders(session.resolved),
        batch_size=options.batch_size,
        generate=options.generate,
        exact=options.exact,
        media=media,
        seed=session.seed,
        cache=session.cache,
        watch=session.quarantine.watch(split, len(source)),
        length=session.limit(options.generate),
        description=session.bar(description),
    )


def _trained_blind(session: Session, split: str, steps: int) -> EvaluationResult:
    """Trains the adapter anew with zeros for media and scores it the same way.

    Zeros rather than nothing, so that every trainable parameter takes part: such an adapter can
    learn all that the captions tell, and nothing of the media. It starts from the same initial
    weights and sees the same samples in the same order, for a share of the steps under a full
    schedule of its own.
    """
    model, recipe = session.model, session.recipe
    args = training_arguments(
        recipe.train.model_copy(update={"early_stopping_patience": None}),
        session.folder.path / "blind",
        validates=False,
        metric=None,
        workers=0,
        changes={"max_steps": steps, **_ALONE},
    )
    trained = {name: value.clone() for name, value in model.adapter_state_dict().items()}
    model.load_adapter_state_dict(session.initial)
    try:
        AdapterTrainer(
            model,
            args,
            session.training_samples(media="blank"),
            quarantine=session.quarantine,
            max_skipped_steps=recipe.train.max_skipped_steps,
            verify_frozen=recipe.train.verify_frozen,
            description=session.bar("train blind"),
        ).train()
        return _row(session, split, "blank", "trained without media")
    finally:
        model.load_adapter_state_dict(trained)
        shutil.rmtree(session.folder.path / "blind", ignore_errors=True)  # nothing there is kept
