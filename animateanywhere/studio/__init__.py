"""`aa studio`: a page in the browser that does what the commands do, by running them."""
