"""`python -m animateanywhere` is `aa`."""

import sys

from animateanywhere.cli.main import main

sys.exit(main())
