"""Tables and pictures of records: names, signs, verdicts and formats."""
