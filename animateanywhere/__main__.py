"""`python -m animateanywhere` is `aa`."""

import sys

from animateanywhere.cli import main

sys.exit(main())
