"""Files: weights with their cards, folders that change as a whole, limits."""
