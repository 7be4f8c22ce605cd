"""Voxelizer, pillar encoder, scatter, backbone, neck and the multi-task network."""
