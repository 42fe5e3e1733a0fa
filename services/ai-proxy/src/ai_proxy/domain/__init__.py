"""Pure functions and values: prices, budgets, wire formats, prompts, edits."""
