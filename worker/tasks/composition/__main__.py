"""Makes the composition that the command line names."""

from worker.tasks.composition.composing import make_composition
from worker.tasks.frame.process import run_task


def main() -> None:
    """Make it, or say in the database why it cannot be made."""
    run_task(make_composition)


if __name__ == "__main__":
    main()
