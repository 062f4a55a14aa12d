"""A plugin of mmadapt: the head `example`."""
