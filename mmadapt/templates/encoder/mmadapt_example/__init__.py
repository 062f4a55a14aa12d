"""A plugin of mmadapt: the encoder `example`."""
