"""``fastmirror demo``: Istio's mirroring task on this machine, with real servers and real curl."""
