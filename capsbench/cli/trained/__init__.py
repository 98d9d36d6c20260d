"""Commands on one trained network: draw what it does, let it predict, export it."""
