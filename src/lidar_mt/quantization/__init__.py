"""From a float network to integers: knows PyTorch, nothing of LiDAR."""
