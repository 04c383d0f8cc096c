"""End-to-end tests: real processes, real sockets, the contract as seen from outside."""
