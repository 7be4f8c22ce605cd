"""The annotated maps: raster masks, polygons, and which keyframe lies on which map."""
