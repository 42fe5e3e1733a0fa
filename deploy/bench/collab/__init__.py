"""Live co-editing beside its peers; `table.main` is the table `collab` of `make bench`."""
