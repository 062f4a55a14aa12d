"""A fusion at every site of every LM family keeps the contract."""

from mmadapt.testing import FusionContract
from mmadapt.testing.tiny import LM_CONFIGS
from tests.toy import EverySite, EverySiteConfig


class TestEverySite(FusionContract):
    families = tuple(LM_CONFIGS)

    def make(self, context):
        return EverySite(EverySiteConfig(), context)
