"""nuScenes detection metrics and bird's-eye-view IoU."""
