"""/v1/files/{id}/conversions: conversions of a file into a dataset that a job takes."""
