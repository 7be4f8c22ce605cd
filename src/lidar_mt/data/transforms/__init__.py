"""Sample transforms, named in the configuration."""
