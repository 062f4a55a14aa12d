"""Classification by likelihood: the head and its metrics."""
