"""/v1/files/{id}/checks: checks of the content of a file."""
