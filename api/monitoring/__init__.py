"""What an API process tells Prometheus: of its own requests, and of what the database knows.

The API alone reads the database for this, so that a worker's page costs no query.
"""
