"""The commands of `tunery`, one file each. `cli.main` puts them together."""
