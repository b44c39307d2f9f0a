"""A gallery on disk: vectors of images with what is known of them, searched, added to and removed from."""
