"""Equal tuning for every contender: spaces, trials, the choice of winners, and the results of these."""
