"""The parts of `bench.composition`: the rows of its two tasks, the answers of its adapters, and its page."""
