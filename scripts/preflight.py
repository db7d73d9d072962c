"""Run ``minivess preflight``: check whether this machine can train on this data."""

import sys

from minivess.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "preflight")
    main()
