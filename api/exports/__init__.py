"""Exports of adapters in the forms of other runtimes: create, watch, download, cancel and delete them."""
