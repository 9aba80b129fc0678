"""The faults, a module for each family. Importing this package fills `registry.FAULTS`."""

from bench.soak.families import broker, clients, database, greed, hints, processes, store, webhooks

__all__ = ["broker", "clients", "database", "greed", "hints", "processes", "store", "webhooks"]
