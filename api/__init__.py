"""The API process: HTTP, with one folder for each feature.

In a feature, `endpoints` parse requests and shape answers, `service` decides, `queries` read the database,
and `schemas` are what a client sends and gets. `http` is what all features share.
"""
