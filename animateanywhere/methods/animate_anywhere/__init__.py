"""AnimateAnywhere (Liu et al., MM '24): learning one person from one clip. Start with `method`."""
