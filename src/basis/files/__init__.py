"""Reading mixtures from files, and writing separations to them."""
