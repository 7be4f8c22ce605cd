"""One room per task: head, target, loss and decoder."""
