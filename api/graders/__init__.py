"""Graders: computes the reward of one sample, or checks that a grader can be used."""
