"""Run the command line as `python -m ganealogy`, as the stages of dvc.yaml do."""

from ganealogy.cli import warm
from ganealogy.runtime import memory


def main() -> None:
    """Run the command line, here or in a process that has torch loaded."""
    warm.hand_over()
    memory.collect_rarely()
    from ganealogy.cli import main as cli

    cli.main()


if __name__ == "__main__":
    main()
