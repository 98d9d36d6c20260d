"""What several results folders say of questions about capsule networks, as one page and one picture."""
