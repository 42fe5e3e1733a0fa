"""`make bench`."""

from deploy.bench import rest

rest.main()
