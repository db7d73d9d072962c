"""One configuration becomes k folds of results."""
