"""From a job's stored files to rows of tokens: read, compare, render."""
