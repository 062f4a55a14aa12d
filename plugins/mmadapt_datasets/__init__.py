"""Published datasets, read from the files as their authors distribute them."""
