"""A plugin of mmadapt: the source `example`."""
