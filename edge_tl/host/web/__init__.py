"""A bundle as a static folder for browsers: the page, the runtime's files, the models and the goldens."""
