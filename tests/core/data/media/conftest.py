import pytest

from mmadapt.data.media import video


@pytest.fixture(params=["decord", "pyav"])
def backend(request, monkeypatch):
    """Has `read_video` try this decoder first (decord leaves to PyAV what it cannot do exactly)."""
    if request.param == "decord":
        pytest.importorskip("decord")
        return "decord"
    monkeypatch.setattr(video, "_backends", lambda: ("pyav",))
    return "pyav"
