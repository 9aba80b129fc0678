"""The check of a dataset's content as API and worker know it: its request, and its report."""
