"""Shared foundations: errors, files, messages, recipes, paths and devices."""
