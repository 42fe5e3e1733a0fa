"""The AI proxy beside LiteLLM's and Portkey's; `table.main` is the table `ai` of `make bench`."""
