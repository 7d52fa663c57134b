"""The networks of the papers. Every generator maps (B, C, h, w) -> (B, C, h*scale, w*scale), values nominally in [0, 1]."""
