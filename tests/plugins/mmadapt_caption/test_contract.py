"""The contract that every metric keeps."""

from mmadapt.testing import MetricContract
from mmadapt_caption.metrics import Bleu, Cider, ExactMatch, RougeL


class TestCider(MetricContract):
    metric = Cider
    best = 10.0


class TestBleu(MetricContract):
    metric = Bleu


class TestRougeL(MetricContract):
    metric = RougeL


class TestExactMatch(MetricContract):
    metric = ExactMatch
