"""Code that generated files carry along."""
