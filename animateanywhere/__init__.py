"""AnimateAnywhere: one video of a person in; that person anywhere, doing anything, out."""

__version__ = "0.1.0"
