"""The contract of mmadapt: shapes, levels, masks, freezing, precision, the processor."""

from mmadapt.testing import EncoderContract
from mmadapt_example.encoder import ExampleConfig, ExampleEncoder


class TestExample(EncoderContract):
    encoder = ExampleEncoder

    def config(self):
        return ExampleConfig()
