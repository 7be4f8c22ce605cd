"""Small modules that networks are built from."""
