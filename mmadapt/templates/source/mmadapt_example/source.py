"""The source `example`: a text file with a picture and its caption on every line."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mmadapt.contracts import Source
from mmadapt.errors import DataError
from mmadapt.types import Sample


class ExampleConfig(BaseModel):
    """Options of `example`, as a recipe writes them.

    Args:
        path: The file; pictures are named relative to its folder.
    """

    model_config = ConfigDict(extra="forbid")
    path: str


class ExampleSource(Source):
    """Lines such as `pictures/1.png<tab>a red ball`.

    Args:
        config: options, an instance of `ExampleConfig`.

    Raises:
        DataError: with file, line and reason.
    """

    Config = ExampleConfig
    config: ExampleConfig

    def __init__(self, config: ExampleConfig) -> None:
        super().__init__(config)
        self.path = Path(config.path)
        try:
            self.lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(self.path, None, f"cannot be read: {error}") from error

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Sample:
        """The sample of one line, whatever was read before."""
        name, tab, caption = self.lines[index].partition("\t")
        picture = self.path.parent / name
        if not tab or not caption.strip():
            raise DataError(self.path, index + 1, "needs a picture, a tab and a caption")
        if not picture.is_file():
            raise DataError(self.path, index + 1, f"names a file that does not exist: {picture}")
        return {
            "id": str(index + 1),
            "origin": f"{self.path}:{index + 1}",
            "target": caption.strip(),
            "references": [caption.strip()],
            "media": [{"type": "image", "path": str(picture)}],
        }
