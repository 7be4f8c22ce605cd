"""Centre-based 3D detection."""
