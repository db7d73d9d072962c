"""Door to ``minivess train``: one loss on every fold, by flags alone."""

import sys

from minivess.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
