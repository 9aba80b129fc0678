"""From rows of a dataset to token axes: render, then pack."""
