"""Multiple choice: the head and ScienceQA's accuracy."""
