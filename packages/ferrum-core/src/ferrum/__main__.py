"""`python -m ferrum` does what the command `ferrum` does."""

import sys

from ferrum.cli import main

sys.exit(main())
