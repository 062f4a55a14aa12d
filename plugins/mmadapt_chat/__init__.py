"""Conversations in the LM's own chat template: the chat head."""
