"""The operating system: files, locks, child processes, the memory allocator."""
