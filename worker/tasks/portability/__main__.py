"""Measures the adapter that the command line names."""

from worker.tasks.frame.process import run_task
from worker.tasks.portability.measure import measure_task
from worker.tasks.portability.model_card import put_card_in_place


def main() -> None:
    """Measure it, or say in the database why it cannot be measured."""
    run_task(measure_task, conclude=put_card_in_place)


if __name__ == "__main__":
    main()
