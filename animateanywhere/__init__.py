"""AnimateAnywhere: one video of a person in; that person anywhere, doing anything, out."""

import logging

__version__ = "0.1.0"

# diffusers loads it wherever it is installed; then it warns of kernels that nothing here uses.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
