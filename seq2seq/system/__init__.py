"""What the operating system does for the other rooms: files, locks, child processes, freed memory."""
