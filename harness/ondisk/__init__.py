"""L0, pure: bytes to frozen values and back. Superblock, log, checksums."""
