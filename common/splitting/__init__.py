"""Which rows train, which validate, and which texts are too much alike to be parted."""
