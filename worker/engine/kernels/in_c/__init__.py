"""Elementwise parts of a step in C, for CPUs with a compiler. Trainers use them."""
