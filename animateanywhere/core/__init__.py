"""What everything else stands on: errors, files, messages, settings, paths and devices."""
