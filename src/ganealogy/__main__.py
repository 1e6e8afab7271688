"""Run the command line as `python -m ganealogy`, as the stages of dvc.yaml do."""

from ganealogy.runtime import memory


def main() -> None:
    """Run the command line."""
    memory.collect_rarely()
    from ganealogy.cli import main as cli

    cli.main()


if __name__ == "__main__":
    main()
