"""The `prefix` fusion: projected media tokens in the input."""
