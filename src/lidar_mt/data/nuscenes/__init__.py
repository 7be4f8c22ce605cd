"""Raw nuScenes tables and files, read through the devkit."""
