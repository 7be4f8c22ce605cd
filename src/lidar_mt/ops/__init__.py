"""Pure tensor functions: voxelization, Gaussians, box geometry, NMS, rasterization."""
