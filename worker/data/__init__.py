"""Turns a job's stored files into rows of tokens: reads, compares and renders them."""
