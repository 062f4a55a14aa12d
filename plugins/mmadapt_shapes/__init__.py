"""The built-in shapes world: clips, pictures and sounds rendered on first use."""
