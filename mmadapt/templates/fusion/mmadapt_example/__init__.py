"""A plugin of mmadapt: the fusion `example`."""
