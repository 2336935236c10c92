"""What a run costs: rates, usage, bills, budgets, forecasts and plans, as pure functions."""
