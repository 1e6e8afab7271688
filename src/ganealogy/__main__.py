"""`python -m ganealogy`: what the stages of dvc.yaml run."""

from ganealogy.cli import main

if __name__ == "__main__":
    main()
