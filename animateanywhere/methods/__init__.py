"""Published methods, one folder each. No method imports another; no lower package imports one."""
