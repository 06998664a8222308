"""What monitoring asks: `observed` counts what happens as it happens, `standing` tells how things are when asked."""
