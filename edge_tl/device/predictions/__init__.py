"""Many images to many answers: what is classified, and the files that answers become."""
