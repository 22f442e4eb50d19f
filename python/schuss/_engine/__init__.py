"""The way of a step, from Python's side: catalog, plan, optimizer."""
