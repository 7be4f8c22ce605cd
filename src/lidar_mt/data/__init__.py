"""From raw nuScenes to batches."""
