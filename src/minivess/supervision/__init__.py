"""Watch a child process and end it before it harms the machine. Imports neither torch nor numpy nor pydantic."""
