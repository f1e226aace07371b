"""How it is optimised: the starting image, what of it is turned, optimizers, sizes."""
