"""What this machine and this installation offer: looked at in child processes, since any of it may be broken."""
