"""People named by answers about pairs of images: questions worth a look, a page to answer them, and a table to train on."""
