"""OCI images without a daemon, by Python's standard library alone: trees of files, layers, layouts, bills of materials."""
