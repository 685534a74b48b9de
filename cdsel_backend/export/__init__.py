"""What leaves the house: a model version as one file, and the labelled set."""
