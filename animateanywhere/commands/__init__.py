"""One function for each verb of the command line; the web studio will call the same ones."""
