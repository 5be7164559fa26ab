"""Methods: a paper a file, each three plain functions: build, loss, denoiser."""
