"""AI providers behind budgets."""
