"""The dry run: what a recipe would do, need and see, without loading weights."""
