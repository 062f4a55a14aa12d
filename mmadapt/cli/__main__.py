"""`python -m mmadapt.cli` is the same as `mmadapt`."""

from mmadapt.cli import main

main()
