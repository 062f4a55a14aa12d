"""The contract that every metric keeps."""

from mmadapt.testing import MetricContract
from mmadapt_vqa.metric import VqaAccuracy


class TestVqaAccuracy(MetricContract):
    metric = VqaAccuracy
