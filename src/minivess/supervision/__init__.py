"""Watch a child process and stop it before it harms the machine. Imports neither torch nor numpy nor pydantic."""
