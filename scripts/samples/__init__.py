"""The sample pictures of the package, one module each, all drawn from formulas."""
