"""Learn from untranscribed speech: representations, label-free scores and low-resource recognisers."""

__version__ = "0.1.0"
