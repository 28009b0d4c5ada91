"""Published models whose features are taken as a run's are: see docs/upstreams.md."""

INPUT = "input"  # the layer that the first block is given
