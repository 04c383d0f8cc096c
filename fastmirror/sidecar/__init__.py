"""What stands around a proxy that runs as a sidecar: the capture of connections, and manifests."""
