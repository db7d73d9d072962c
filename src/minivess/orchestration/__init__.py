"""Orchestration: run the cells on this machine or on a Dask cluster, and show the run in Prefect."""
