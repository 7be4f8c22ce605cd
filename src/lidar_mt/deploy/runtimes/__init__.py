"""What computes an exported network: one protocol, one module per runtime."""
