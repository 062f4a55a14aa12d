"""Announces the fusion `llama_adapter`; its code is imported when a recipe names it."""

from mmadapt.hookspecs import Register, hookimpl


@hookimpl
def register_fusions(register: Register) -> None:
    """Announces one name, where its class lives, and a line for `mmadapt plugins`."""
    register("llama_adapter", "mmadapt_llama_adapter.fusion:LlamaAdapter", "LLaMA-Adapter")
