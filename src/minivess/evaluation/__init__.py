"""Evaluation: predict the held-out cases and score the predictions."""
