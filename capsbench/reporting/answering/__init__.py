"""The answer to a person's question about one contender: who is asked about, its rivals, the numbers and the sentences."""
