"""Captions: from a template, a model on this machine, or an API."""
