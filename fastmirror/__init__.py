"""fastmirror: a traffic-mirroring HTTP proxy that never harms the primary."""

__version__ = "0.1.0"
