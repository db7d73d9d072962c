"""Door to ``minivess preflight``: can this machine run it?."""

import sys

from minivess.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "preflight")
    main()
