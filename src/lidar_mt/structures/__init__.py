"""What flows between the parts: grid, boxes, classes, samples, pillars, outputs, errors."""
