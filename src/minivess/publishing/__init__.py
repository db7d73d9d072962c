"""Publishing: a finished run goes to MLflow and its model registry."""
