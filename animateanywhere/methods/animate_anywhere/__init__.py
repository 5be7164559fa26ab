"""AnimateAnywhere (Liu et al., MM '24): one person learned from one clip. Start with `method`."""
