"""How MD Creator is run: locally, in containers, and what is measured over the whole fleet."""
