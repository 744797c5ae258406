"""What dashboards/*.yaml say: cards in their places, and what each asks."""
