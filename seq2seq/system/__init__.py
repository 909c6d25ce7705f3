"""The operating system: files, locks, child processes, the allocator of memory."""
