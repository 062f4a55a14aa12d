"""The contract of mmadapt: attaching, gradients, generation, padding, saving, compiling."""

from mmadapt.testing import FusionContract
from mmadapt_example.fusion import ExampleConfig, ExampleFusion


class TestExample(FusionContract):
    families = ("llama", "opt")

    def make(self, context):
        return ExampleFusion(ExampleConfig(), context)
