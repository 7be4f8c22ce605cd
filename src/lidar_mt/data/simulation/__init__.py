"""A ray-cast town written in the nuScenes format."""
