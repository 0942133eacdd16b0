"""archlang: a declarative language and compiler for neural-network macro-architectures."""
