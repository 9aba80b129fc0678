"""Takes an export's files to the place that the client has named: a hub's repository, or an S3 bucket.

The process that has made the export does it, with a secret of the project.
"""
