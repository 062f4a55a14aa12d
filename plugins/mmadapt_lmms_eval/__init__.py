"""The lmms-eval model `mmadapt`: its benchmarks on a saved adapter."""
