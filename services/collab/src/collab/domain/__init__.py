"""Pure parts of live co-editing: wire formats, the CRDT engine behind guards, presence, tickets, Markdown."""
