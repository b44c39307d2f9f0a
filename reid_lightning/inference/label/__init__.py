"""Name people by answers about pairs of images: the questions, a page to answer them, and a table to train on."""
