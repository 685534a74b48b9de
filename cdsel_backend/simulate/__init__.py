"""The production code run on labelled history, and its report."""
