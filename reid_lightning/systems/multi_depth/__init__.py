"""Multi-depth descriptor (University of Birjand 2022)."""
