"""Check a certificate: a small program that shares nothing with the engine."""
