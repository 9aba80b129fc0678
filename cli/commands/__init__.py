"""The commands of `tunery`, a file or a folder each. `cli.main` puts them together.

Most talk to the API as its client; `keys`, `projects` and `secrets reseal` open the database.
"""
