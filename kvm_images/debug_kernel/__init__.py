"""Debug kernels: built from Debian's kernel source, to watch themselves while md runs."""
