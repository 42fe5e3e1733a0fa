"""`make chaos`: kill everything, cut every line, under load; then look for every acknowledged write."""
