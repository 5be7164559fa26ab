"""Captions of a clip: from a template, a local vision-language model, or an API."""
