"""The checks of `tunery doctor`: one file for the machine, one for the service."""
