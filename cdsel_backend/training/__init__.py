"""From labels to a model one can trust: heads, fine-tuning, evaluation by group, model versions."""
