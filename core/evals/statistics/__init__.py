"""Statistics of evals: what all rows together say, how sure that is, and whether two runs differ.

Pure functions in numpy, with fixed seeds: equal input gives equal output. Workers and the API's processes for
comparisons import this package.
"""
