"""Uploads and downloads beside their peers; `table.main` is the table `files` of `make bench`."""
