"""The papers' equations: tensors in, scalar out."""
