"""Open-ended questions about media: the head and the VQA accuracy."""
