"""One function for each command of the command line, also for use from Python and the web
studio."""
