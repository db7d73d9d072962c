"""Run an experiment: from one configuration to the results of all losses on all folds."""
