"""Run ``minivess run``: an experiment from its YAML file."""

import sys

from minivess.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
