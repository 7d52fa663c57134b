"""What runs a network."""

# The packages that can run one.
BACKENDS = ("torch",)
