"""The command line: thin commands that import what they need when they run."""


def main() -> None:
    """Run `mmadapt`; the console script's entry point."""
    from mmadapt.cli.app import app

    app(prog_name="mmadapt")
