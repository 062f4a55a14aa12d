"""Configuration files that a recipe brings along, so that `check` can count models it cannot reach.

`configs: configs` in a recipe names a folder, relative to the file where it stands, that holds
`<model id>/config.json` and, for encoders, `preprocessor_config.json`: sizes, never weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmadapt.errors import RecipeError
from mmadapt.recipe import Recipe


class Configurations:
    """Says where the configuration of a base model is read, and remembers what it said.

    Args:
        recipe: with or without `configs`.

    Raises:
        RecipeError: `configs` names no folder.

    Example:
        >>> from mmadapt.recipe import load_recipe
        >>> recipe = load_recipe("recipes/video_caption_adem.yaml")
        >>> Configurations(recipe).place("embedded:lm")
        'embedded:lm'
    """

    def __init__(self, recipe: Recipe) -> None:
        self.folder: Path | None = None
        self.used: dict[str, Path] = {}
        if recipe.configs is not None:
            self.folder = recipe.folder_of(("configs",)) / recipe.configs
            if not self.folder.is_dir():
                message = f"there is no folder {self.folder}"
                hint = "name one, or set configs=null to ask the hub"
                raise RecipeError([recipe.problem(("configs",), message, hint)])

    def place(self, model: str) -> str:
        """The folder that the recipe brings for a model id, else the id itself."""
        if self.folder is None or not (self.folder / model / "config.json").is_file():
            return model
        self.used[model] = self.folder / model
        return str(self.used[model])

    def notes(self) -> list[str]:
        """One sentence for each model that was not looked up under its own id."""
        return [
            f"sizes of {model} are read from {folder}; configs=null asks the hub"
            for model, folder in self.used.items()
        ]


def placed(config: Any, files: Configurations) -> Any:
    """An encoder's options, its model where its configuration is read."""
    model = getattr(config, "model", None)
    if not isinstance(model, str):
        return config
    return config.model_copy(update={"model": files.place(model)})
