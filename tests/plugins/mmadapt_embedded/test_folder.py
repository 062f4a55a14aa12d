"""Names of the embedded models."""

import pytest

from mmadapt.errors import MMAdaptError
from mmadapt_embedded.folder import NAMES, resolve


@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_to_a_folder_with_weights(name):
    assert resolve(name) == resolve(f"embedded:{name}")
    assert (resolve(name) / "model.safetensors").is_file()


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(MMAdaptError) as caught:
        resolve("vitt")
    message = str(caught.value)
    assert all(f"embedded:{name}" in message for name in NAMES)
    assert "did you mean 'embedded:vit'?" in message
