"""What an export may be: its formats and options. API and worker read requests with these classes."""
