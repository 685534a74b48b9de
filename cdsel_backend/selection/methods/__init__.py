"""One strategy a file; each offers `fill(problem, draft)`."""
