"""Training in several processes: started here, by torchrun or by Ray; they meet in one group."""
