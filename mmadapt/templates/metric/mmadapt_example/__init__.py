"""A plugin of mmadapt: the metric `example`."""
