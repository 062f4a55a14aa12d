"""Evaluation: answers, scores, and whether it is the media that speak."""

from mmadapt.evaluate.adapter import evaluate_adapter
from mmadapt.evaluate.evaluation import EvaluationResult, evaluate

__all__ = ["EvaluationResult", "evaluate", "evaluate_adapter"]
