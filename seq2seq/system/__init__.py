"""What the operating system does for the other rooms: child processes, locks, freed memory."""
