"""Every step of every chain against every fault that can reach it, and nights with kills at random."""
