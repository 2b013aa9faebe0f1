"""Files and modules in: networks and properties."""
