"""Run ``minivess train``: one loss on every fold, with options instead of a YAML file."""

import sys

from minivess.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
