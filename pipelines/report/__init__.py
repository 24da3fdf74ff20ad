"""What a run's rows are like, in figures and pictures."""
