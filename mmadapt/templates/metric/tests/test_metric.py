"""The contract of mmadapt: perfect and wrong answers, order, JSON, errors."""

from mmadapt.testing import MetricContract
from mmadapt_example.metric import ExampleMetric


class TestExample(MetricContract):
    metric = ExampleMetric
