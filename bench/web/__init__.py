"""Load for the API and the dashboard: HTTP clients, uploads, and pages in Chromium."""
