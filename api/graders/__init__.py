"""Graders, which give a sample a reward: run one on a sample, or check that it can be used."""
