"""The estimate of a whole job as API and worker know it: the devices, and the report.

The API makes it, and the trainer compares it with what it measures.
"""
